"""The displays: scikit-learn's manner, and the numbers of the report."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

import diabolo
from diabolo import AnomalyDisplay, LatentMapDisplay, LearningCurveDisplay, ReconstructionDisplay, datasets
from diabolo.errors import InvalidData, InvalidParameter, UnsupportedOperationError
from diabolo.metrics import explained_variance
from reported_models import X, Y, fitted, iris

mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def detector():
    return diabolo.AnomalyDetector("single", random_state=0).fit(datasets.load_pump(as_frame=True).data)


@pytest.fixture
def ax():
    return Figure().subplots()


def test_a_learning_curve_is_the_history(ax):
    model = fitted("variational")
    display = LearningCurveDisplay.from_estimator(model, term="kl", ax=ax, training_kw={"color": "k"})
    assert (display.ax_, display.figure_) == (ax, ax.figure)
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), model.history_["kl"])
    np.testing.assert_array_equal(display.lines_[1].get_ydata(), model.history_["validation_kl"])
    assert display.lines_[0].get_color() == "k"
    assert f"best epoch: {model.best_epoch_}" in [text.get_text() for text in ax.get_legend().get_texts()]
    again = display.plot()
    assert again is display
    assert display.ax_ is not ax


def test_what_has_no_learning_curve_says_why(detector):
    for model in (diabolo.BasicAutoencoder(n_latent=2).fit(X), detector, diabolo.BasicAutoencoder()):
        with pytest.raises(UnsupportedOperationError, match="learning curve"):
            LearningCurveDisplay.from_estimator(model)
    with pytest.raises(InvalidParameter, match="kl"):
        LearningCurveDisplay.from_estimator(fitted("variational"), term="lk")


def test_a_latent_map_has_a_point_for_each_row_and_a_colour_for_each_label(ax):
    model = fitted("basic")
    display = LatentMapDisplay.from_estimator(model, X, Y, ax=ax, s=3)
    colors = {tuple(points.get_facecolor()[0]) for points in ax.collections}
    assert len(colors) == len(ax.collections) == 10  # no two digits have one colour
    assert sum(len(points.get_offsets()) for points in ax.collections) == len(X)
    codes = model.transform(X)
    first = (codes - codes.mean(axis=0)) @ np.linalg.svd(codes - codes.mean(axis=0), full_matrices=False)[2][0]
    assert abs(np.corrcoef(first, display.points[:, 0])[0, 1]) > 0.999
    units = LatentMapDisplay.from_estimator(model, X, units=(3, 1))
    np.testing.assert_array_equal(units.points, codes[:, [3, 1]])
    assert len(units.figure_.axes) == 2  # no labels: a colour bar of the error
    for wrong in ((0, 4), (1,), (-1, 0)):
        with pytest.raises(InvalidParameter, match="units"):
            LatentMapDisplay.from_estimator(model, X, units=wrong)
    with pytest.raises(InvalidData):
        LatentMapDisplay.from_estimator(model, X, Y[:3])


def test_a_map_of_one_unit_and_one_of_texts():
    line = diabolo.BasicAutoencoder(n_latent=1).fit(iris().drop_columns("species").to_pandas())
    display = LatentMapDisplay.from_estimator(line, iris().drop_columns("species").to_pandas(), iris()["species"])
    assert display.names == ("z1", "mean squared error")
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["setosa", "versicolor", "virginica"]


def test_reconstructions_of_images_profiles_and_columns(ax):
    model = fitted("basic")
    images = ReconstructionDisplay.from_estimator(model, X, image_shape=(8, 8), n_rows=5, ax=ax)
    assert images.kind == "images"
    assert ax.images[0].get_array().shape[:2] == (2 * 8 + 1, 5 * 8 + 4)
    np.testing.assert_allclose(images.reconstructions, model.reconstruct(images.rows), atol=1e-5)
    errors = np.square(images.rows - images.reconstructions).mean(axis=1)
    assert (np.diff(errors) > 0).all()
    assert ReconstructionDisplay.from_estimator(model, X).kind == "profiles"
    bars = ReconstructionDisplay.from_estimator(fitted("table"), iris())
    assert bars.kind == "columns"
    assert set(bars.lost) == set(iris().column_names)
    for wrong, rows, kind in (("kind", X, "bars"), ("image_shape", X, "images"), ("kind", iris(), "profiles")):
        with pytest.raises(InvalidParameter, match=wrong):
            ReconstructionDisplay.from_estimator(fitted("table" if rows is not X else "basic"), rows, kind=kind)


def test_the_lost_share_is_one_minus_the_explained_variance():
    frame = datasets.load_pump(as_frame=True).data
    model = diabolo.BasicAutoencoder(n_latent=3).fit(frame)
    lost = ReconstructionDisplay.from_estimator(model, frame).lost
    found = model.reconstruct(frame)
    for name in frame.columns:
        one = explained_variance(frame[[name]].to_numpy(), found[[name]].to_numpy())
        assert lost[name] == pytest.approx(1 - one, abs=1e-3)


def test_the_anomalies_drawn_are_those_flagged(detector, ax):
    new = datasets.load_pump(subset="new", as_frame=True)
    display = AnomalyDisplay.from_estimator(detector, new.data, ax=ax, flagged_kw={"color": "r"})
    assert (display.flagged == (detector.predict(new.data) == -1)).all()
    _, flagged = ax.collections
    assert len(flagged.get_offsets()) == display.flagged.sum()
    assert tuple(flagged.get_facecolor()[0]) == (1, 0, 0, 1)
    row = int(display.scores.argmax())
    why = AnomalyDisplay.from_estimator(detector, new.data, row=row)
    assert sum(why.contributions.values()) == pytest.approx(display.scores[row])
    best = detector.explain(new.data).top_features(1)[row, 0]
    assert max(why.contributions, key=why.contributions.get).startswith(f"{best} = {new.data[best][row]:.4g}")
    with pytest.raises(InvalidParameter, match="row"):
        AnomalyDisplay.from_estimator(detector, new.data, row=400)


def test_too_few_calibration_rows_flag_none():
    with pytest.warns(UserWarning, match="calibration"):
        small = diabolo.AnomalyDetector("single", random_state=0).fit(datasets.load_pump().data[:30])
    display = AnomalyDisplay.from_estimator(small, datasets.load_pump().data[:5])
    assert not display.flagged.any()
    assert display.threshold is None
