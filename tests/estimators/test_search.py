"""`BatchedSearchCV` gives what `GridSearchCV` gives, from trainings that run together."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold

from diabolo import AnomalyDetector, BasicAutoencoder, BatchedSearchCV, StackedAutoencoder
from diabolo.engine import compiled
from diabolo.errors import InvalidParameter

X = load_iris().data[:100]
SHORT = {"max_epochs": 3, "random_state": 0, "init": "random"}


def both(estimator, grid, rows=X, **how):
    return tuple(search(estimator, grid, **how).fit(rows) for search in (GridSearchCV, BatchedSearchCV))


def test_scores_are_those_of_single_fits_whatever_the_widths_and_the_sizes_of_folds():
    estimator = StackedAutoencoder(n_latent=2, scaling="standard", **SHORT)
    grid = {"hidden_layer_sizes": [(3,), (20,)], "learning_rate": [1e-3, 1e-2]}
    rows = X[:97]  # folds of 33, 32 and 32 rows: the training rows differ in number
    single, batched = both(estimator, grid, rows, cv=3, return_train_score=True)
    assert list(batched.cv_results_["params"]) == list(single.cv_results_["params"])
    assert set(batched.cv_results_) == set(single.cv_results_)
    for which in ("test", "train"):
        name = f"mean_{which}_score"
        np.testing.assert_allclose(batched.cv_results_[name], single.cv_results_[name], rtol=1e-4)
    np.testing.assert_array_equal(batched.cv_results_["rank_test_score"], single.cv_results_["rank_test_score"])
    assert batched.best_params_ == single.best_params_
    # The best setting is fitted again by itself, as it is: the same bits.
    np.testing.assert_array_equal(batched.transform(rows), single.transform(rows))
    assert batched.best_estimator_.model_.recipe.encoder.hidden == batched.best_params_["hidden_layer_sizes"]
    assert (batched.n_splits_, batched.multimetric_, batched.n_features_in_) == (3, False, 4)


def test_settings_that_differ_in_width_share_a_program():
    estimator = StackedAutoencoder(n_latent=2, scaling="standard", **SHORT)
    found = set()
    for widths in ((5, 6, 7), (8, 31, 32)):
        grid = {"hidden_layer_sizes": [(width,) for width in widths]}
        search = BatchedSearchCV(estimator, grid, cv=KFold(2), refit=False).fit(X)
        found.add(compiled.run_epochs_vmapped.n_programs())
    assert len(found) == 1
    assert not hasattr(search, "best_estimator_")


def test_several_scores_labels_groups_and_a_function_that_decides():
    def near(model, rows, y):
        return -float(np.square(model.reconstruct(rows) - rows)[y == 1].mean())

    how = {
        "scoring": {"near": near, "density": lambda model, rows, y: model.score(rows)},
        "refit": "near",
        "cv": GroupKFold(2),
    }
    y, groups = np.arange(100) % 2, np.arange(100) // 10
    grid = {"learning_rate": [1e-3, 1e-2]}
    estimator = BasicAutoencoder(**SHORT)
    single = GridSearchCV(estimator, grid, **how).fit(X, y, groups=groups)
    batched = BatchedSearchCV(estimator, grid, **how).fit(X, y, groups=groups)
    assert set(batched.cv_results_) == set(single.cv_results_)
    for name in ("near", "density"):
        results = f"mean_test_{name}"
        np.testing.assert_allclose(batched.cv_results_[results], single.cv_results_[results], rtol=1e-4)
    assert batched.multimetric_
    chosen = BatchedSearchCV(estimator, grid, **how | {"refit": lambda results: 1}).fit(X, y, groups=groups)
    assert chosen.best_params_ == {"learning_rate": 1e-2}


def test_a_setting_that_fails_has_the_score_that_was_asked_for():
    estimator = BasicAutoencoder(**SHORT | {"max_epochs": 20}, optimizer="sgd")
    grid = {"learning_rate": [1e-3, 1e30]}
    with pytest.warns(match="failed"):
        search = BatchedSearchCV(estimator, grid, cv=KFold(2), error_score=-1e9).fit(X)
    assert search.best_params_ == {"learning_rate": 1e-3}
    assert search.cv_results_["mean_test_score"][1] == -1e9
    assert list(search.cv_results_["rank_test_score"]) == [1, 2]


def test_a_scorer_that_fails_loses_no_training():
    def fails(model, rows, y=None):
        return model.score(rows) if model.learning_rate < 1e-2 else 1 / 0

    how = {"param_grid": {"learning_rate": [1e-3, 1e-2]}, "cv": KFold(2), "scoring": fails}
    with pytest.warns(match="division by zero"):
        search = BatchedSearchCV(BasicAutoencoder(**SHORT), **how).fit(X)
    assert search.best_params_ == {"learning_rate": 1e-3}
    with pytest.raises(ZeroDivisionError):
        BatchedSearchCV(BasicAutoencoder(**SHORT), **how, error_score="raise").fit(X)


@pytest.mark.parametrize("refit", [lambda results: 1, lambda results: -1, lambda results: "best"])
def test_a_function_that_decides_for_no_setting_is_refused(refit):
    with pytest.raises(InvalidParameter, match="refit returned"):
        BatchedSearchCV(BasicAutoencoder(**SHORT), {"learning_rate": [1e-3]}, cv=KFold(2), refit=refit).fit(X)


def test_a_scorer_of_several_scores_needs_a_deciding_one():
    def scorer(model, rows, y=None):
        return {"a": 1.0, "b": 2.0}

    how = {"param_grid": {"learning_rate": [1e-3]}, "cv": KFold(2)}
    with pytest.raises(InvalidParameter, match="a, b"):
        BatchedSearchCV(BasicAutoencoder(**SHORT), **how, scoring=scorer).fit(X)
    one = BatchedSearchCV(
        BasicAutoencoder(**SHORT), **how, scoring={"score": lambda model, rows, y=None: 1.0}, refit="score"
    )
    assert one.fit(X).multimetric_


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(InvalidParameter, match="AnomalyDetector"):
        BatchedSearchCV(AnomalyDetector(), {"random_state": [0]}).fit(X)
    with pytest.raises(InvalidParameter, match="refit"):
        BatchedSearchCV(BasicAutoencoder(), {"random_state": [0]}, scoring={"a": len, "b": len}).fit(X)
    for rows in ("rows.npy", iter(X)):
        with pytest.raises(InvalidParameter, match="X"):
            BatchedSearchCV(BasicAutoencoder(), {"random_state": [0]}).fit(rows)
