"""A fit goes straight, and what it learns is taken up at once: a fit that does not end leaves the former one whole."""

import hashlib
import sys
import warnings

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_iris

import diabolo
from diabolo.errors import InvalidData, TrainingDiverged
from diabolo.estimators import base, ensemble, input

IRIS, SPECIES = load_iris(return_X_y=True)
FEW = {"max_epochs": 3, "batch_size": 32, "random_state": 0}
SMALL = FEW | {"hidden_layer_sizes": (4,)}
MAKERS = {
    "free": lambda: diabolo.Autoencoder(encoder=diabolo.parts.MLP((4,)), **FEW),
    "basic": lambda: diabolo.BasicAutoencoder(init="random", **FEW),
    "stacked": lambda: diabolo.StackedAutoencoder(pretrain="layerwise", pretrain_epochs=1, **SMALL),
    "sparse": lambda: diabolo.SparseAutoencoder(n_hidden=6, **FEW),
    "denoising": lambda: diabolo.DenoisingAutoencoder(n_latent=2, **SMALL),
    "variational": lambda: diabolo.VariationalAutoencoder(n_latent=2, **SMALL),
    "classifier": lambda: diabolo.AutoencoderClassifier(diabolo.BasicAutoencoder(init="random", **FEW), **FEW),
    "detector": lambda: diabolo.AnomalyDetector(
        diabolo.BasicAutoencoder(init="random", **FEW), false_alarm_rate=0.1, random_state=0
    ),
    "imputer": lambda: diabolo.AutoencoderImputer(diabolo.BasicAutoencoder(init="random", **FEW), random_state=0),
    "generator": lambda: diabolo.AutoencoderGenerator(
        diabolo.VariationalAutoencoder(n_latent=2, **SMALL), random_state=0
    ),
}
TOLD_OF_EPOCHS = ("free", "basic", "stacked", "sparse", "denoising", "variational", "classifier")
OTHER = IRIS[::-1] * np.array([10.0, 1000.0, 0.1, 1.0]) + 5.0
OF_THE_SAME_FIT = ("free", "sparse", "denoising")
"""Estimators whose `fit` is that of "basic" and "variational" to the last function."""
every_estimator = pytest.mark.parametrize("name", MAKERS)


def fit(name, estimator, rows, **given):
    with warnings.catch_warnings(action="ignore"):
        return (
            estimator.fit(rows, SPECIES[: len(rows)], **given) if name == "classifier" else estimator.fit(rows, **given)
        )


def said(name, estimator):
    """Everything that an estimator says of some rows, as one hash."""
    found = hashlib.sha256()
    holes = IRIS[:20].copy()
    holes[::3, 1] = np.nan
    asked = {"classifier": "predict_proba", "detector": "score_samples"}
    if name == "generator":
        answers = [estimator.sample(5, random_state=0)]
    elif name == "imputer":
        answers = [estimator.transform(holes), *estimator.prediction_intervals(holes, 0.5)]
    elif name in asked:
        answers = [getattr(estimator, asked[name])(IRIS[:20])]
    else:
        answers = [estimator.transform(IRIS[:20]), estimator.reconstruct(IRIS[:20]), estimator.score_samples(IRIS[:20])]
    for answer in answers:
        found.update(np.ascontiguousarray(answer).tobytes())
    return found.hexdigest()


def saved(estimator, folder):
    estimator.save(folder)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


# -- one way ----------------------------------------------------------------------------------------------------------


LEFT_OUT = ("diabolo.core", "diabolo.jax_config")
"""The formula's values, and the guard around programs, which is a decorator."""


def test_a_fit_changes_its_module_less_than_thirty_times():
    """Counted are the functions that estimators enter, their own and others'."""
    diabolo.BasicAutoencoder(random_state=0).fit(IRIS)
    estimator, entered = diabolo.BasicAutoencoder(random_state=0), []

    def module_of(frame):
        name = frame.f_globals.get("__name__", "") if frame is not None else ""
        return name if name.startswith("diabolo.") else ""

    def profile(frame, event, _):
        module, code = module_of(frame), frame.f_code
        if event != "call" or not module or module.startswith(LEFT_OUT) or code.co_filename.startswith("<"):
            return
        before = frame.f_back
        while before is not None and not module_of(before):
            before = before.f_back
        if not code.co_name.startswith("<") and (before is None or module_of(before).startswith("diabolo.estimators")):
            entered.append(module)

    sys.setprofile(profile)
    try:
        estimator.fit(IRIS)
    finally:
        sys.setprofile(None)
    changes = 1 + sum(module != then for module, then in zip(entered[1:], entered, strict=False))
    assert 10 < changes < 30, changes


def counted(monkeypatch, module, name):
    calls, own = [], getattr(module, name)

    def counting(*given, **named):
        calls.append(given)
        return own(*given, **named)

    monkeypatch.setattr(module, name, counting)
    return calls


def test_a_detector_opens_and_hashes_its_rows_once(monkeypatch):
    opened = counted(monkeypatch, input, "open_store")
    hashed = counted(monkeypatch, ensemble.files, "fingerprint")
    MAKERS["detector"]().fit(pa.table(dict(zip("abcd", IRIS.T, strict=True))))
    assert (len(opened), len(hashed)) == (1, 1)


def test_a_detector_hands_its_networks_the_cells_that_it_was_given(monkeypatch):
    handed = counted(monkeypatch, base, "from_array")
    rows = IRIS.copy()
    rows[0, 0] = np.nan  # in the training rows of some folds alone
    detector = MAKERS["detector"]().set_params(calibration=3)
    fit("detector", detector, rows)
    holes = [int(np.isnan(given[0]).sum()) for given in handed]
    assert sorted(holes) == [0, 1, 1]
    assert np.isnan(rows).sum() == 1
    assert all(member.input_.allow_missing for fold in detector.estimators_ for member in fold)
    assert np.isfinite(detector.score_samples(rows)).all()


# -- all or nothing ---------------------------------------------------------------------------------------------------


class Halt:
    """Interrupts whatever runs at the n-th call of one of diabolo's functions."""

    def __init__(self, n):
        self.left = n

    def __call__(self, frame, event, _):
        if event == "call" and frame.f_globals.get("__name__", "").startswith("diabolo."):
            self.left -= 1
            if not self.left:
                sys.setprofile(None)
                raise KeyboardInterrupt


def interrupted(name, estimator, rows, n):
    """Whether a fit was stopped; and the number of calls that it had left."""
    halt = Halt(n)
    sys.setprofile(halt)
    try:
        fit(name, estimator, rows)
    except KeyboardInterrupt:
        return True, 0
    finally:
        sys.setprofile(None)
    return False, halt.left


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # where a generator is being closed
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.large if name in OF_THE_SAME_FIT else ()) for name in MAKERS]
)
def test_a_fit_that_is_interrupted_anywhere_leaves_the_former_one_whole(name, tmp_path):
    estimator = fit(name, MAKERS[name](), IRIS)
    fit(name, MAKERS[name](), OTHER)  # what is compiled once takes more calls
    before, file = said(name, estimator), saved(estimator, tmp_path / "before")
    many = 10**9
    n_calls = many - interrupted(name, MAKERS[name](), OTHER, many)[1]
    after = said(name, fit(name, MAKERS[name](), OTHER))
    assert before != after
    places = {*np.linspace(1, n_calls, 8).astype(int).tolist(), *range(n_calls - 4, n_calls)}
    seen = set()
    for place in sorted(places):
        interrupted(name, estimator, OTHER, place)
        now = said(name, estimator)
        assert now in (before, after), place
        seen.add(now)
        if now == after:
            break
        assert saved(estimator, tmp_path / f"{place}") == file
    assert before in seen


@pytest.mark.parametrize("name", TOLD_OF_EPOCHS)
def test_a_callback_that_interrupts_leaves_the_former_fit(name):
    estimator = fit(name, MAKERS[name](), IRIS)
    before, learned = said(name, estimator), dict(vars(estimator))

    def stop(epoch, record):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(name, estimator, OTHER, callback=stop)
    assert all(value is learned[key] for key, value in vars(estimator).items())
    assert said(name, estimator) == before


REFUSED = {
    "one": IRIS[:1],
    "infinite": np.full((20, 4), np.inf),
    "unknown": np.full((20, 4), np.nan),
    "words": np.array([["a", "b"]] * 5),
    "one-dimensional": IRIS[:, 0],
    "no columns": np.ones((9, 0)),
}


@every_estimator
def test_rows_that_are_refused_leave_the_former_fit(name):
    estimator = fit(name, MAKERS[name](), IRIS)
    before, learned = said(name, estimator), dict(vars(estimator))
    for what, rows in REFUSED.items():
        with pytest.raises(InvalidData):
            fit(name, estimator, rows)
        assert vars(estimator).keys() == learned.keys()
        assert all(value is learned[key] for key, value in vars(estimator).items()), what
    assert said(name, estimator) == before


@every_estimator
def test_a_training_that_diverges_leaves_the_former_fit(name):
    estimator = fit(name, MAKERS[name](), IRIS)
    before, learned = said(name, estimator), dict(vars(estimator))
    wild = {"learning_rate": 1e30, "max_epochs": 20}
    inner = {"classifier": "", "detector": "estimator__", "imputer": "estimator__", "generator": "estimator__"}
    estimator.set_params(**{f"{inner.get(name, '')}{key}": value for key, value in wild.items()})
    with pytest.raises(TrainingDiverged):
        fit(name, estimator, OTHER)
    own = estimator.get_params(deep=False)
    assert vars(estimator).keys() == learned.keys()
    assert all(value is learned[key] for key, value in vars(estimator).items() if key not in own)
    assert said(name, estimator) == before


def test_a_second_fit_leaves_nothing_of_the_first():
    named = load_iris(as_frame=True).data
    estimator = fit("basic", MAKERS["basic"](), named)
    assert list(estimator.feature_names_in_) == list(named.columns)
    fit("basic", estimator, IRIS[:, :3])
    assert not hasattr(estimator, "feature_names_in_")
    assert (estimator.n_features_in_, estimator.input_.names, estimator.input_.width) == (3, None, 3)


def test_what_was_set_besides_survives_a_fit():
    estimator = MAKERS["basic"]().set_output(transform="pandas")
    for _ in range(2):
        fit("basic", estimator, IRIS)
        assert list(estimator.transform(IRIS[:2]).columns) == list(estimator.get_feature_names_out())


def test_a_sweep_leaves_a_fitted_estimator_as_it_is():
    estimator = fit("basic", MAKERS["basic"](), IRIS)
    before = dict(vars(estimator))
    diabolo.sweep(estimator, {"learning_rate": [0.01, 0.02]}, OTHER)
    with pytest.raises(TrainingDiverged):
        diabolo.sweep(estimator, {"learning_rate": [1e30], "optimizer": ["sgd"], "max_epochs": [20]}, OTHER)
    assert all(value is before[key] for key, value in vars(estimator).items())
