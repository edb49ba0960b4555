"""Scores by hand, and the same from a graph as from NumPy."""

from types import SimpleNamespace

import numpy as np
import pytest

from diabolo.engine.gaussian import FactorGaussian
from diabolo.estimators import scores
from diabolo.estimators.blend import Blend

RNG = np.random.default_rng(0)
ROWS = np.where(RNG.random((40, 5)) < 0.2, np.nan, RNG.normal(scale=3.0, size=(40, 5)))
SPAN = np.array([[-2.0, -1.0, 0.0, -9.0, 1.0], [2.0, 1.0, 0.5, 9.0, 1.0]])
SCALE = np.array([0.5, 1.0, 2.0, 4.0, 1e-3])
GAUSSIAN = FactorGaussian(np.ones(5), RNG.normal(size=(3, 5)), np.array([0.1, 1.0, 1e-6, 2.0, 0.5]))
SHARPER = GAUSSIAN._replace(noise=GAUSSIAN.noise / 9)
SHARES = np.array([[0.0, 0.25, 0.0, 0.75, 1.0], [0.0, 0.0, 0.5, 0.0, 0.0]])
PARTS = Blend(np.zeros(5), np.ones(5), (GAUSSIAN, SHARPER), SPAN, SHARES, np.array([0.0, 0.5, 1.0, 0.2, 0.7]))
DEVIANCE = np.where(np.isnan(ROWS), 0, np.square(ROWS)).astype(np.float32)


def of_rows(xp, rows, deviance):
    """Every function of the module, in one answer."""
    read = scores.seen_by(xp, rows, SPAN)
    relative = scores.relative_deviance(xp, deviance, SCALE[None])
    strange = scores.anomaly_scores(xp, relative, rows)
    filled = scores.imputed(xp, rows, [rows, read, read], PARTS, SPAN)
    alone = scores.imputed(xp, rows, [], PARTS, SPAN)
    return read, scores.mean_score([strange, strange / np.float64(2)]), filled, alone


def test_a_row_of_deviances_of_one_unit_is_as_strange_as_one_whatever_is_missing():
    rows = np.array([[1.0, 1.0, 1.0], [1.0, np.nan, 1.0], [np.nan, np.nan, np.nan]])
    relative = np.where(np.isnan(rows), 0.0, 1.0)
    np.testing.assert_array_equal(scores.anomaly_scores(np, relative, rows), [1.0, 1.0, 0.0])
    np.testing.assert_array_equal(scores.anomaly_scores(np, 9.0 * relative, rows), [3.0, 3.0, 0.0])


def test_an_infinite_deviance_counts_as_the_greatest_number():
    found = scores.relative_deviance(np, np.array([[np.inf, 1.0]], np.float32), np.ones(2))
    np.testing.assert_array_equal(found, [[np.finfo(np.float32).max, 1.0]])
    assert found.dtype == np.float64


def test_an_undefined_deviance_counts_as_the_greatest_number_and_no_score_exceeds_the_largest():
    found = scores.relative_deviance(np, np.array([[np.nan, np.inf], [1.0, 1.0]], np.float32), np.ones(2))
    given = scores.network_scores(np, found, np.ones((2, 2)), 1.0)
    np.testing.assert_array_equal(given, [scores.LARGEST_SCORE, 1.0])


def test_what_a_network_reads_lies_within_the_span_and_missing_cells_stay():
    read = scores.seen_by(np, ROWS, SPAN)
    np.testing.assert_array_equal(np.isnan(read), np.isnan(ROWS))
    assert ((read >= SPAN[0]) & (read <= SPAN[1]) | np.isnan(read)).all()


def test_the_parts_of_a_saved_model_of_earlier_versions_are_networks_alone():
    each = [RNG.normal(size=(6, 2)) for _ in range(4)]
    wide = np.array([[-9.0, -9.0], [9.0, 9.0]])
    found = scores.imputed(np, np.full((6, 2), np.nan), each, Blend.of_networks(wide), wide)
    np.testing.assert_array_equal(found, np.stack(each).mean(axis=0))


@pytest.mark.parametrize(("linear", "network", "expected"), [(0, 0, 3.0), (1, 0, 2.0), (0.5, 0, 2.5), (0.5, 0.5, 1.75)])
def test_an_imputed_value_is_the_weighted_mean_of_the_parts(linear, network, expected):
    span = np.array([[0.0], [9.0]])
    gaussian = FactorGaussian(np.full(1, 2.0), np.zeros((1, 1)), np.ones(1))
    parts = Blend(np.full(1, 3.0), np.ones(1), (gaussian,), span, np.full((1, 1), linear), np.full(1, network))
    networks = [np.full((1, 1), -5.0), np.full((1, 1), 2.0)]  # -5 is clipped to 0
    assert scores.imputed(np, np.full((1, 1), np.nan), networks, parts, span).item() == expected


def test_a_graph_gives_what_numpy_gives():
    onnxruntime = pytest.importorskip("onnxruntime")
    from diabolo.export.onnx_arrays import Arrays, Value
    from diabolo.export.onnx_graph import Graph

    graph = Graph("scores")
    rows, deviance = (Value(graph, graph.input(n, t, ("n", 5))) for n, t in (("X", np.float64), ("D", np.float32)))
    found = of_rows(Arrays(graph), rows, deviance)
    shapes = {"read": ("n", 5), "score": ("n",), "imputed": ("n", 5), "alone": ("n", 5)}
    for (name, shape), value in zip(shapes.items(), found, strict=True):
        graph.output(name, value.name, np.float64, shape)
    model = graph.model({}).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    told = session.run(None, {"X": ROWS, "D": DEVIANCE})
    np.testing.assert_array_equal(told[0], of_rows(np, ROWS, DEVIANCE)[0])
    np.testing.assert_allclose(told[1], of_rows(np, ROWS, DEVIANCE)[1], rtol=1e-12)
    known = ~np.isnan(ROWS)
    np.testing.assert_allclose(told[2][known], of_rows(np, ROWS, DEVIANCE)[2][known], rtol=1e-8)
    np.testing.assert_allclose(told[3], of_rows(np, ROWS, DEVIANCE)[3], rtol=1e-8)


def test_the_four_quantiles_around_a_cell_decide_what_all_of_them_say():
    rng = np.random.default_rng(0)
    quantiles = np.sort(rng.normal(size=(5, 64)).round(1), axis=1)  # many are equal
    cells = np.vstack([rng.normal(size=(300, 5)) * 2, quantiles.T, np.full((2, 5), [[np.nan], [1e12]])])
    anywhere = SimpleNamespace(reshape=np.reshape, maximum=np.maximum, min=np.min, log=np.log)
    found, expected = (scores.quantile_distances(xp, cells, quantiles) for xp in (np, anywhere))
    np.testing.assert_array_equal(found, expected)
