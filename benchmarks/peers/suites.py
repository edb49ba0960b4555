"""The suites: where a peer's tests are, which of its classes ours replaces, and which tests are of the peer alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["NOT_RUN", "SUITES", "Suite"]

_PRIVATE = "calls private functions, or reads attributes, of the peer's algorithm"
_PARAMETERS = "is about a parameter that only the peer's algorithm has"
_NUMBERS = "expects the numbers of the peer's own formula"


@dataclass(frozen=True)
class Suite:
    """One test file of a peer."""

    tests: str
    """The module of an installed package, or a path within the peer's repository."""
    replaced: Mapping[str, str]
    """The adapter for each replaced class, by the class's dotted name."""
    not_ours: Mapping[str, str] = field(default_factory=dict)
    """Why tests are left out, by the beginning of their names."""
    explained: Mapping[str, str] = field(default_factory=dict)
    """Why tests fail that are not left out, by the beginning of their names."""
    repository: str = ""
    """The name for ``--tests`` of a peer whose package has no tests."""

    def explanation_of(self, test: str) -> str:
        """Return why a test fails."""
        name = test.rpartition("::")[2]
        return next((why for start, why in self.explained.items() if name.startswith(start)), "not explained")


SUITES: dict[str, Suite] = {
    "scikit-learn: isolation forest": Suite(
        "sklearn.ensemble.tests.test_iforest",
        {"sklearn.ensemble.IsolationForest": "Forest"},
        {
            "test_iforest_average_path_length": _PRIVATE,
            "test_recalculate_max_depth": _PRIVATE,
            "test_max_samples": _PARAMETERS,
            "test_iforest_error": _PARAMETERS,
            "test_iforest_subsampled_features": _PARAMETERS,
            "test_iforest_warm_start": _PARAMETERS,
            "test_iforest_chunks": _PRIVATE,
            "test_iforest_parallel": _PARAMETERS,
            "test_iforest_predict_parallel": _PARAMETERS,
            "test_iforest_with_n_jobs": _PARAMETERS,
        },
        {
            "test_iforest[": "two rows: a detector needs rows to train on and others to calibrate by, and says so",
            "test_iforest_performance": "our fault: two heaps in two dimensions with anomalies around them",
            "test_iforest_works[42-auto]": "eight rows: no p-value can be below 0.1, so none is flagged, as warned",
            "test_score_samples": "three rows: the calibration rows depend on the false-alarm rate, and so do scores",
            "test_iforest_with_uniform_data": "wanted: a change of a column that was constant is an anomaly",
        },
    ),
    "scikit-learn: elliptic envelope": Suite(
        "sklearn.covariance.tests.test_elliptic_envelope",
        {"sklearn.covariance.EllipticEnvelope": "Envelope"},
        {"test_elliptic_envelope": _NUMBERS},
    ),
    "scikit-learn: local outlier factor": Suite(
        "sklearn.neighbors.tests.test_lof",
        {"sklearn.neighbors.LocalOutlierFactor": "Factor"},
        {
            "test_lof_values": _NUMBERS,
            "test_lof_precomputed": _PARAMETERS,
            "test_n_neighbors": _PARAMETERS,
            "test_lof_error_n_neighbors": _PARAMETERS,
            "test_hasattr_prediction": _PARAMETERS,
            "test_novelty_errors": _PARAMETERS,
            "test_novelty_training_scores": _PARAMETERS,
            "test_lof_input_dtype_preservation": _PRIVATE,
            "test_lof_dtype_equivalence": _PRIVATE,
            "test_lof_duplicate_samples": _PRIVATE,
        },
    ),
    "scikit-learn: truncated SVD": Suite(
        "sklearn.decomposition.tests.test_truncated_svd",
        {"sklearn.decomposition.TruncatedSVD": "Components"},
        {
            "test_solvers": _NUMBERS,
            "test_attributes": _PRIVATE,
            "test_explained_variance": _PRIVATE,
            "test_singular_values": _PRIVATE,
            "test_truncated_svd_eq_pca": _PRIVATE,
            "test_too_many_components[arpack": _PARAMETERS,
            "test_fit_transform": _PARAMETERS,
        },
    ),
    "scikit-learn: imputers": Suite(
        "sklearn.impute.tests.test_common",
        {"sklearn.impute.IterativeImputer": "Imputer", "sklearn.impute.KNNImputer": "Imputer"},
        {
            "test_imputers_add_indicator_sparse": "is about missing cells in sparse matrices, which ours has not",
        },
    ),
    "scikit-learn: iterative imputer": Suite(
        "sklearn.impute.tests.test_impute",
        {"sklearn.impute.IterativeImputer": "Imputer"},
        {
            "test_imputation": "is about another imputer of the same file",
            "test_missing_indicator": "is about another imputer of the same file",
            "test_simple_imput": "is about another imputer of the same file",
            "test_most_frequent": "is about another imputer of the same file",
            "test_knn_imputer": "is about another imputer of the same file",
            "test_inconsistent_dtype": _PARAMETERS,
            "test_iterative_imputer_zero_iters": _PARAMETERS,
            "test_iterative_imputer_verbose": _PARAMETERS,
            "test_iterative_imputer_imputation_order": _PARAMETERS,
            "test_iterative_imputer_estimators": _PARAMETERS,
            "test_iterative_imputer_clip": _PARAMETERS,
            "test_iterative_imputer_truncated_normal": _PARAMETERS,
            "test_iterative_imputer_transform_stochasticity": _PARAMETERS,
            "test_iterative_imputer_early_stopping": _PARAMETERS,
            "test_iterative_imputer_catch": _PARAMETERS,
            "test_iterative_imputer_min_max": _PARAMETERS,
            "test_iterative_imputer_skip_non_missing": _PARAMETERS,
            "test_iterative_imputer_dont_set_random_state": _PARAMETERS,
            "test_iterative_imputer_constant_fill_value": _PARAMETERS,
        },
    ),
    "PyOD: autoencoder": Suite(
        "pyod/test/test_auto_encoder.py",
        {"pyod.models.auto_encoder.AutoEncoder": "Outliers"},
        repository="pyod",
    ),
    "PyOD: variational autoencoder": Suite(
        "pyod/test/test_vae.py",
        {"pyod.models.vae.VAE": "Outliers"},
        {
            "test_custom_logvar_clip": _PARAMETERS,
            "test_default_logvar_clip": _PARAMETERS,
            "test_invalid_logvar_clip": _PARAMETERS,
            "test_default_output_activation_name": _PARAMETERS,
        },
        repository="pyod",
    ),
    "CTGAN: variational autoencoder": Suite(
        "tests/integration/synthesizer/test_tvae.py",
        {"ctgan.synthesizers.tvae.TVAE": "Synthesizer"},
        {"test_tvae_save": "reads the loss and the progress bar of the peer's own training loop"},
        repository="ctgan",
    ),
}

NOT_RUN = {
    "pythae": "neither wheel nor sdist has tests, and those of its repository need torch and its own layers",
    "alibi-detect": "needs NumPy below 2, and TensorFlow or torch; its autoencoders' tests are of its own layers",
    "hyperimpute": "needs torch, catboost, xgboost and a release of redis; its tests ask its own registry of plugins",
}
"""Peers whose suites are not run, with the reason."""
