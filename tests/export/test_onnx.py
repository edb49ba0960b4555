"""Exported models say what Python says, by ONNX Runtime alone."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.csv
import pytest
from sklearn.base import clone
from sklearn.datasets import load_wine

import diabolo
import examples
from diabolo import parts
from diabolo.core import layers
from diabolo.core.activations import ACTIVATIONS
from diabolo.engine import inference, jaxpr
from diabolo.errors import ExportError, InvalidParameter, MissingDependencyError, UnsupportedOperationError
from diabolo.export import onnx
from diabolo.export.onnx_graph import Graph

CLIENT = Path(__file__).parents[2] / "examples" / "deploy" / "score_csv.py"
X, Y = load_wine(return_X_y=True)
HOLES = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
FEW = {"max_epochs": 0, "init": "random", "random_state": 0}
"""An export needs weights, and no training: random ones say more than those of a closed form, many of which are 0."""
VAE = diabolo.VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(8,), **FEW)


def table(holes=False):
    rng = np.random.default_rng(0)
    columns = {
        "length": rng.normal(5, 2, 120).round(2),
        "is new": rng.random(120) < 0.3,
        "visits": rng.poisson(rng.gamma(1, 2, 120)),
        "kind": rng.choice(["x", "größer", "z, y"], 120),
        "day": np.datetime64("2020-01-01") + rng.integers(0, 900, 120),
    }
    empty = {name: rng.random(120) < 0.1 if holes else None for name in columns}
    return pa.table({name: pa.array(cells, mask=empty[name]) for name, cells in columns.items()})


def images(shape):
    return np.random.default_rng(0).random((60, int(np.prod(shape))))


def classifier():
    return diabolo.AutoencoderClassifier(VAE, max_epochs=1, random_state=0)


def of_part(**parts_given):
    return diabolo.Autoencoder(encoder=parts.MLP((4,)), **parts_given, **FEW).fit(X)


def convolutional(**more):
    return diabolo.Autoencoder(
        encoder=parts.Convolutional((6, 5, 2), (3, 4), **more), latent=parts.Deterministic(2), **FEW
    )


CASES = {
    **{name: (lambda one=one: clone(one).set_params(**FEW).fit(X)) for name, one in examples.ESTIMATORS.items()},
    "with missing cells": lambda: VAE.fit(HOLES),
    "Bernoulli": lambda: diabolo.VariationalAutoencoder(n_latent=2, likelihood="bernoulli", **FEW).fit(X),
    "counts": lambda: diabolo.VariationalAutoencoder(n_latent=2, likelihood=parts.NegativeBinomial(), **FEW).fit(
        np.floor(X)
    ),
    "unscaled": lambda: diabolo.BasicAutoencoder(n_latent=2, scaling=None, **FEW).fit(X / 100),
    "convolutions by blocks": lambda: convolutional(kernel=4).fit(images((6, 5, 2))),
    "other convolutions": lambda: convolutional(kernel=3).fit(images((6, 5, 2))),
    "a U-net": lambda: diabolo.Autoencoder(
        encoder=parts.Residual(parts.UNet((6, 5, 2), (3, 4))),
        latent=parts.Deterministic(60),
        decoder=parts.Identity(),
        corruption=parts.GaussianNoise(),
        **FEW,
    ).fit(images((6, 5, 2))),
    "a recurrent network of series": lambda: diabolo.Autoencoder(
        encoder=parts.GRUEncoder((6, 2), 5), latent=parts.DiagonalGaussian(2), objective="elbo", **FEW
    ).fit(images((6, 2)).reshape(-1, 6, 2)),
    "a codebook": lambda: of_part(latent=parts.VectorQuantized(2, 5, 2), penalties=(parts.Commitment(),)),
    "two levels": lambda: of_part(
        latent=parts.TwoLevel(2, 1, (4,)), prior=parts.TwoLevelPrior(1, (4,)), objective="elbo"
    ),
    "a VampPrior": lambda: of_part(latent=parts.DiagonalGaussian(2), prior=parts.VampPrior(5), objective="elbo"),
    "a table": lambda: VAE.fit(table()),
    "a table with missing cells": lambda: VAE.fit(table(holes=True)),
    "labels": lambda: classifier().fit(X, np.array(["a", "bb", "c"])[Y]),
    "numbers for labels": lambda: classifier().fit(X, Y),
    "a detector": lambda: diabolo.AnomalyDetector("single", false_alarm_rate=0.1, random_state=0).fit(X),
    "a detector of rows that may hold anomalies": lambda: diabolo.AnomalyDetector(
        "single", contaminated=True, false_alarm_rate=0.1, random_state=0
    ).fit(HOLES),
    "a detector with all views in a table": lambda: diabolo.AnomalyDetector(
        "single", false_alarm_rate=0.1, random_state=0
    ).fit(table(holes=True)),
    "a detector in a table": lambda: diabolo.AnomalyDetector(
        diabolo.DenoisingAutoencoder(**FEW), false_alarm_rate=0.1, random_state=0
    ).fit(table(holes=True)),
    "an imputer": lambda: diabolo.AutoencoderImputer("single", random_state=0).fit(HOLES),
    "an imputer by draws, in a table": lambda: diabolo.AutoencoderImputer(VAE, random_state=0).fit(table(holes=True)),
}


RARE = ("SparseAutoencoder", "Bernoulli", "other convolutions", "an imputer", "two levels")
"""Whose steps the others have as well: compared with `-m slow`."""


WITHIN_OTHERS = ("Autoencoder", "StackedAutoencoder", "unscaled", "a table", "numbers for labels", "a detector")
"""Of which another has every step and more, such as "a table with missing cells": with `-m large`."""
MARKS = dict.fromkeys(RARE, pytest.mark.slow) | dict.fromkeys(WITHIN_OTHERS, pytest.mark.large)


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in CASES])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_export_has_been_compared_with_python(name, tmp_path):
    found = diabolo.export_onnx(CASES[name](), tmp_path / "out")
    assert sorted(found.files) == sorted(file.name for file in (tmp_path / "out").iterdir())
    for output, far in found.differences.items():
        assert far < (1e-3 if output.endswith("log_density") else 1e-5)
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert told["differences"] == found.differences
    assert told["diabolo"] == diabolo.__version__


@pytest.mark.parametrize("name", [name for name, *_ in examples.networks()])
def test_every_network_is_covered(name):
    _, part, n_in, n_out = next(some for some in examples.networks() if some[0] == name)
    network = part.build(np.random.default_rng(0), n_in, n_out)
    graph = Graph("network")
    mark = jaxpr.placeholder_batch_size(network)
    value = graph.carried_out(jaxpr.program(network, (mark, n_in), mark), graph.input("X", np.float32, ("n", n_in)))
    graph.output("out", value, np.float32, ("n", n_out))
    session = onnxruntime.InferenceSession(graph.model({}).SerializeToString())
    rows = np.random.default_rng(1).normal(size=(7, n_in)).astype(np.float32)
    expected = eqx.filter_jit(network)(rows)
    for n_rows in (1, 7):
        (found,) = session.run(None, {"X": rows[:n_rows]})
        np.testing.assert_allclose(found, expected[:n_rows], rtol=1e-5, atol=1e-5)


FUNCTIONS = {
    "every activation": lambda x: sum(f(x) for f in ACTIVATIONS.values()),
    "logarithms near 0": lambda x: jnp.log1p(jnp.abs(x) * 1e-6) + jnp.expm1(x * 1e-6),
    "gamma": lambda x: jnp.where(x > 0, jax.lax.lgamma(jnp.abs(x) + 0.1), 0),
    "turned round": lambda x: x[:, ::-1] - x[:, 1::2].sum(1, keepdims=True),
    "padded within": lambda x: jax.lax.pad(x, 0.5, ((0, 0, 0), (1, -1, 2))),
    "powers": lambda x: x**3 + 2.0**x + jnp.abs(x) ** 0.5 + 1 / jnp.sqrt(1 + x * x),
    "reductions": lambda x: x * x.max(1, keepdims=True) + x.min(1, keepdims=True) + jnp.prod(x, 1, keepdims=True),
    "choices": lambda x: jnp.where(jnp.isfinite(x) & (x != 0), jnp.clip(x, -0.5, 0.5), 1) % 0.3,
    "sums so far": lambda x: jnp.cumsum(x, 1) + jax.lax.cumsum(x, 1, reverse=True),
    "the first of the best": lambda x: x * jnp.argmin(x, 1)[:, None] + jnp.argmax(jnp.round(x), 1)[:, None],
    "a constant": lambda x: jnp.ones((x.shape[0], 2)) * 3,
    "rounding": lambda x: jnp.round(x * 3) + jnp.floor(x) + jnp.ceil(x) + jnp.sign(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_as_onnx(name):
    f, mark = FUNCTIONS[name], jaxpr.placeholder_batch_size(())
    graph = Graph("f")
    value = graph.carried_out(jaxpr.program(f, (mark, 4), mark), graph.input("X", np.float32, ("n", 4)))
    graph.output("out", value, np.float32, ("n", None))
    rows = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(graph.model({}).SerializeToString()).run(None, {"X": rows})
    np.testing.assert_allclose(found, f(rows), rtol=2e-6, atol=2e-6)


def test_a_difference_is_found_and_nothing_is_written(tmp_path, monkeypatch):
    told = inference.log_densities
    model = VAE.fit(X)
    monkeypatch.setattr(inference, "log_densities", lambda *given: told(*given) + 0.1 * layers.UNROLLED.get())
    with pytest.raises(ExportError, match=r"score\.onnx log_density"):
        diabolo.export_onnx(model, tmp_path / "out", X)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_there_stays(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    model = diabolo.BasicAutoencoder(**FEW).fit(X)
    with pytest.raises(InvalidParameter, match="out"):
        diabolo.export_onnx(model, tmp_path / "out")
    with pytest.raises(InvalidParameter):
        diabolo.export_onnx(model, tmp_path / "out", X, force=True)
    assert (tmp_path / "out" / "mine").exists()


@dataclass(frozen=True)
class Sorted(parts.Network):
    """Has a step that is not covered."""

    def build(self, rng, n_in, n_out):
        return eqx.nn.Lambda(lambda x: jnp.sort(x)[..., :n_out])


def test_what_cannot_be_exported_is_refused_by_name(tmp_path):
    model = diabolo.Autoencoder(encoder=Sorted(), decoder=parts.MLP(()), latent=parts.Deterministic(2), **FEW).fit(X)
    with pytest.raises(UnsupportedOperationError, match="'sort'"):
        diabolo.export_onnx(model, tmp_path / "out")
    generator = diabolo.AutoencoderGenerator(VAE, random_state=0).fit(X)
    with pytest.raises(UnsupportedOperationError, match="AutoencoderGenerator"):
        diabolo.export_onnx(generator, tmp_path / "out")


def test_without_the_extra_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"diabolo\[onnx\]"):
        diabolo.export_onnx(diabolo.BasicAutoencoder(**FEW).fit(X), tmp_path / "out")


@pytest.mark.parametrize("kind", ["rows", pytest.param("columns", marks=pytest.mark.slow)])
def test_a_client_without_diabolo_gives_the_same_scores(kind, tmp_path, run):
    if kind == "rows":
        pa.csv.write_csv(pa.table({f"c{i}": column for i, column in enumerate(X.T)}), tmp_path / "new.csv")
        model = VAE.fit(str(tmp_path / "new.csv"))
    else:
        model = VAE.fit(table(holes=True).drop_columns("day").to_pandas().assign(**{"is new": 1.0}))
        pa.csv.write_csv(
            table(holes=True).drop_columns("day").set_column(1, "is new", pa.array([1.0] * 120)), tmp_path / "new.csv"
        )
    model.save(tmp_path / "run")
    status, out, err = run("export", tmp_path / "run", "--onnx", tmp_path / "onnx")
    assert status == 0, err
    assert "log_density" in out
    code = f"import runpy, sys; runpy.run_path({str(CLIENT)!r}); assert not {{'jax', 'diabolo'}} & set(sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path / "onnx" / "score.onnx"), str(tmp_path / "new.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    head, *scores = done.stdout.split()
    assert head == "log_density"
    expected = model.score_samples(str(tmp_path / "new.csv"))
    np.testing.assert_allclose(np.array(scores, float), expected, rtol=1e-4)


def test_flags_and_p_values_follow_the_scores(tmp_path):
    detector = diabolo.AnomalyDetector("single", false_alarm_rate=0.1, random_state=0).fit(X)
    diabolo.export_onnx(detector, tmp_path / "out", X)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "score.onnx")
    for n_rows in (1, 178):
        rows = X[:n_rows].astype(np.float32)
        score, p_value, flagged = session.run(["score", "p_value", "flagged"], {"X": rows})
        near = np.abs(score + detector.offset_) < 1e-4
        assert ((flagged == (detector.predict(X[:n_rows]) == -1)) | near).all()
        np.testing.assert_allclose(p_value, detector.p_values_from_scores(score), atol=1.1 / 37)


def test_rows_to_compare_on_are_like_those_seen():
    model = VAE.fit(table(holes=True))
    drawn = onnx._checked_on(model, None)
    assert drawn.num_rows == 1000
    assert drawn.schema.names == table().schema.names
    assert 0 < drawn["kind"].null_count < 500


# -- types of numbers -------------------------------------------------------------------------------------------------


def types_of(folder):
    """The types of numbers of all inputs and outputs."""
    graphs = json.loads((folder / "export.json").read_text())["graphs"]
    kinds = {one["type"] for graph in graphs.values() for some in graph.values() for one in some}
    return kinds & {"tensor(float)", "tensor(double)"}


FAR = np.random.default_rng(0).normal(size=(80, 4))


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (X, "tensor(float)"),
        (FAR + 100, "tensor(float)"),
        (FAR + 1000, "tensor(double)"),
        (FAR * 1e-6 + [0, 0, 1, 0], "tensor(double)"),
        (FAR * 1e6, "tensor(float)"),
    ],
    ids=["wine", "100 from 0", "1000 from 0", "one column far from 0", "another unit"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_type_of_numbers_follows_from_the_digits_of_the_columns(rows, kind, tmp_path):
    model = diabolo.BasicAutoencoder(**FEW).fit(rows)
    diabolo.export_onnx(model, tmp_path / "out", rows)
    assert types_of(tmp_path / "out") == {kind}
    session = onnxruntime.InferenceSession(tmp_path / "out" / "reconstruct.onnx")
    real = np.float32 if kind == "tensor(float)" else np.float64
    (found,) = session.run(None, {"X": rows.astype(real)})
    assert found.dtype == real
    np.testing.assert_allclose((found - model.reconstruct(rows)) / rows.std(axis=0), 0, atol=2e-5)


@pytest.mark.parametrize(
    "model",
    [
        diabolo.AnomalyDetector("single", contaminated=True, random_state=0),
        diabolo.AutoencoderImputer(random_state=0),
        diabolo.BasicAutoencoder(max_epochs=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_model_fitted_to_rows_of_32_bits_is_exported(model, tmp_path):
    rows = X.astype(np.float32)
    diabolo.export_onnx(clone(model).fit(rows), tmp_path / "out", rows)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_type_of_numbers_can_be_given(dtype, tmp_path, run):
    model = diabolo.BasicAutoencoder(**FEW).fit(FAR + 1000)
    diabolo.export_onnx(model, tmp_path / "out", dtype=dtype)
    assert types_of(tmp_path / "out") == {"tensor(float)" if dtype == "float32" else "tensor(double)"}
    model.save(tmp_path / "run")
    status, _, err = run("export", tmp_path / "run", "--onnx", tmp_path / "again", "--dtype", dtype)
    assert status == 0, err
    assert types_of(tmp_path / "again") == types_of(tmp_path / "out")


def test_a_table_whose_whole_numbers_need_more_digits_has_doubles(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"n": rng.integers(0, 2**26, 100), "kind": rng.choice(["a", "b"], 100)}
    for most, kind in ((2**26, "tensor(double)"), (2**20, "tensor(float)")):
        model = VAE.fit(pa.table(columns | {"n": columns["n"] % most}))
        diabolo.export_onnx(model, tmp_path / str(most))
        assert types_of(tmp_path / str(most)) == {kind}


def test_results_that_32_bits_change_are_exported_in_64(tmp_path, monkeypatch):
    model = diabolo.BasicAutoencoder(**FEW).fit(X)
    real = onnx._far
    monkeypatch.setattr(
        onnx, "_far", lambda found, expected: 1.0 if found.dtype == np.float32 else real(found, expected)
    )
    diabolo.export_onnx(model, tmp_path / "out", X)
    assert types_of(tmp_path / "out") == {"tensor(double)"}
    with pytest.raises(ExportError):
        diabolo.export_onnx(model, tmp_path / "other", X, dtype="float32")


@pytest.mark.parametrize("name", ["BasicAutoencoder", "labels", "a detector in a table", "a table with missing cells"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_inputs_and_outputs_have_a_doc_string(name, tmp_path):
    import onnx as library

    diabolo.export_onnx(CASES[name](), tmp_path / "out")
    for file in (tmp_path / "out").glob("*.onnx"):
        graph = library.load(file).graph
        assert graph.doc_string
        assert all(one.doc_string for one in (*graph.input, *graph.output)), file
