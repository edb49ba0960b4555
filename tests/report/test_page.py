"""The report: what it is asked, what the doctor says, and the page in a real browser."""

import base64
import gzip
import json
import re
import shutil
import time
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from sklearn.datasets import load_digits, load_iris, load_wine

import diabolo
from diabolo import parts
from diabolo.data.readers import labels
from diabolo.engine import inference, jaxpr
from diabolo.errors import InvalidData
from diabolo.estimators.base import BaseAutoencoder
from diabolo.report import collect, diagnostics, reported

DIGITS = load_digits()
X, Y = DIGITS.data[:400] / 16, DIGITS.target[:400]
FEW = {"max_epochs": 12, "random_state": 0}


def iris(n=150):
    found = load_iris(as_frame=True)
    names = np.array(found.target_names)[found.target]
    return pa.table({**{name: found.data[name] for name in found.data}, "species": names}).slice(0, n)


MAKERS = {
    "basic": lambda: diabolo.BasicAutoencoder(n_latent=4, scaling=None, **FEW).fit(X),
    "stacked": lambda: diabolo.StackedAutoencoder(n_latent=4, scaling=None, **FEW).fit(X),
    "sparse": lambda: diabolo.SparseAutoencoder(n_hidden=70, scaling=None, **FEW).fit(X),
    "denoising": lambda: diabolo.DenoisingAutoencoder(n_latent=8, scaling=None, **FEW).fit(X),
    "variational": lambda: diabolo.VariationalAutoencoder(n_latent=3, beta="linear", scaling=None, **FEW).fit(X),
    "bernoulli": lambda: diabolo.VariationalAutoencoder(n_latent=2, likelihood="bernoulli", **FEW).fit(X),
    "table": lambda: diabolo.VariationalAutoencoder(n_latent=2, **FEW).fit(iris()),
    "convolutional": lambda: diabolo.Autoencoder(
        encoder=parts.Convolutional((8, 8, 1), (4, 8)), latent=parts.Code(3, "tanh"), scaling=None, **FEW
    ).fit(X),
    "u-shaped": lambda: diabolo.Autoencoder(
        encoder=parts.MLP((16,), "gelu"),
        latent=parts.Code(64),
        decoder=parts.UNet((8, 8, 1), (4,)),
        scaling=None,
        **FEW,
    ).fit(X),
    "wine": lambda: diabolo.BasicAutoencoder(n_latent=2, **FEW).fit(load_wine(as_frame=True).data),
}


@cache
def fitted(name):
    return MAKERS[name]()


def rows_of(name):
    return {"table": iris(), "wine": load_wine(as_frame=True).data}.get(name, X)


@cache
def page(name):
    labels = Y if rows_of(name) is X else None
    return fitted(name).report(rows_of(name), labels, image_shape=(8, 8) if rows_of(name) is X else None)


def bundle(html):
    packed = re.search(r'id="bundle">([^<]*)<', html).group(1)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


# -- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_a_report_is_one_file_that_needs_nothing_else(name):
    html = page(name)
    assert len(html) < 15e6
    without_library = re.sub(r'id="library">[^<]*<', "", html)
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*|@import|url\((?!data:)""", without_library)
    for section in ("doctor", "learning", "rows", "features", "map", "explorer", "again"):
        assert f'<section id="{section}"' in html


def test_what_is_shown_follows_from_the_parts():
    titles = {name: set(re.findall(r"<h2>([^<]*)</h2>", page(name))) for name in MAKERS}
    assert {name for name in MAKERS if "Latent units" in titles[name]} == {"variational", "bernoulli", "table"}
    assert {name for name in MAKERS if "Sparse units" in titles[name]} == {"sparse"}
    assert {name for name in MAKERS if "Noise" in titles[name]} == {"denoising"}
    assert "Samples and interpolation" in titles["variational"]
    assert "Interpolation" in titles["basic"]


def test_two_reports_of_one_model_are_the_same():
    assert fitted("variational").report(X, Y, image_shape=(8, 8)) == page("variational")


def test_without_rows_there_are_the_learning_the_samples_and_the_explorer():
    html = fitted("variational").report()
    titles = re.findall(r"<h2>([^<]*)</h2>", html)
    assert titles == [
        "The doctor", "Learning", "The latent explorer", "Samples and interpolation", "How to make it again"
    ]  # fmt: skip


def test_the_map_can_be_coloured_by_any_column_and_by_a_label():
    found = bundle(page("table"))["map"]
    assert {"species", "petal width (cm)", "log p", "reconstruction error"} <= set(found["colors"])
    assert set(found["colors"]["species"]) == {"setosa", "versicolor", "virginica"}
    assert bundle(page("basic"))["map"]["colors"]["label"] == Y.tolist()


def test_every_unit_of_a_sparse_code_is_shown_with_the_rows_that_it_answers_to():
    html = page("sparse")
    units = {int(unit) for unit in re.findall(r"unit (\d+), ρ̂", html)}
    assert units == set(range(1, 71))
    table = diabolo.SparseAutoencoder(n_hidden=20, **FEW).fit(load_wine(as_frame=True).data)
    found = table.report(load_wine(as_frame=True).data)
    assert "the other 8 units" in found
    assert set(re.findall(r"<tr><td>(\d+)</td><td>0\.\d{3}</td>", found)) == {str(unit) for unit in range(1, 21)}


def test_a_wide_table_can_be_coloured_by_all_of_its_columns():
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 50)), columns=[f"c{i}" for i in range(50)])
    model = diabolo.BasicAutoencoder(n_latent=2, **FEW).fit(wide)
    found = bundle(model.report(wide))["map"]
    assert {f"c{i}" for i in range(50)} <= set(found["colors"])
    assert len(found["names"]) == len(found["rows"][0]) == 24


def test_the_map_holds_the_rows_as_the_user_gave_them():
    found = bundle(page("table"))["map"]
    first = iris().slice(0, 1).to_pylist()[0]
    assert dict(zip(found["names"], found["rows"][0], strict=True)) == {
        name: value if isinstance(value, str) else f"{value:g}" for name, value in first.items()
    }


def test_missing_cells_are_shown_as_missing(tmp_path):
    holes = np.random.default_rng(0).uniform(size=X.shape) < 0.1
    model = diabolo.BasicAutoencoder(n_latent=4, scaling=None, **FEW).fit(np.where(holes, np.nan, X))
    html = model.report(np.where(holes, np.nan, X))
    assert "NaN" not in gzip.decompress(base64.b64decode(re.search(r'id="bundle">([^<]*)<', html).group(1))).decode()


def test_rows_in_chunks_are_looked_at_here_and_there(tmp_path, monkeypatch):
    many = np.random.default_rng(0).normal(size=(7_000, 3)).astype(np.float32)
    monkeypatch.setattr("diabolo.data.blocks.CHUNK_BYTES", 1 << 14)
    monkeypatch.setattr("diabolo.data.blocks.BLOCK_BYTES", 1 << 12)
    np.save(tmp_path / "rows.npy", many)
    model = diabolo.BasicAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit(many)
    seen = collect.gathered(model, tmp_path / "rows.npy").seen
    assert len(seen.rows) == collect.MOST_ROWS
    assert seen.n_given == len(many)
    np.testing.assert_array_equal(seen.rows, many[seen.numbers])


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["basic", "variational", "sparse", "table"])
def test_a_few_rows_will_do(name, n):
    rows = rows_of(name)[:n] if name != "table" else iris(n)
    html = fitted(name).report(rows, image_shape=None if name == "table" else (8, 8))
    assert f"Asked about {n} row{'s' * (n > 1)}" in html
    assert len(bundle(html)["map"]["numbers"]) == n


def test_labels_can_be_a_column_an_array_or_an_answer(tmp_path):
    np.savez(tmp_path / "rows.npz", X=X, y=Y, wide=X[:, :2])
    assert labels(str(tmp_path / "rows.npz"), "y") == Y.tolist()
    for name in ("z", "wide"):
        with pytest.raises(InvalidData, match=name):
            labels(str(tmp_path / "rows.npz"), name)
    np.save(tmp_path / "rows.npy", X)
    with pytest.raises(InvalidData):
        labels(str(tmp_path / "rows.npy"), "y")
    table = iris()
    for at, part in enumerate((table.slice(0, 70), table.slice(70))):
        pa.csv.write_csv(part, tmp_path / f"{at}.csv")
    wanted = table["species"].to_pylist()
    assert labels(str(tmp_path / "*.csv"), "species") == wanted
    assert labels(f"SELECT species FROM '{tmp_path}/*.csv'", "species") == wanted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": [1, 2]}, "y"),
        ({"image_shape": (7, 8)}, "image_shape"),
        ({"image_shape": (8, 4, 2)}, "image_shape"),
    ],
)
def test_what_does_not_suit_the_rows_is_refused(given, message):
    with pytest.raises(InvalidData, match=message):
        fitted("basic").report(X, **given)


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(InvalidData, match="nowhere"):
        fitted("basic").report(path=tmp_path / "nowhere" / "report.html")
    assert not list(tmp_path.iterdir())


# -- what is measured -------------------------------------------------------------------------------------------------


def test_the_evidence_is_what_the_estimator_says():
    model = fitted("variational")
    seen = collect.gathered(model, X).seen
    np.testing.assert_allclose(seen.scores, model.score_samples(X), rtol=1e-5)
    np.testing.assert_allclose(seen.kl, model.kl(X), rtol=1e-5)
    np.testing.assert_allclose(seen.codes, model.transform(X), rtol=1e-5)
    rebuilt = model.reconstruct(X)
    np.testing.assert_allclose(seen.errors, np.square(X - rebuilt).mean(axis=1), rtol=1e-4)
    assert seen.explained == pytest.approx(diabolo.metrics.explained_variance(X, rebuilt), abs=1e-5)


def test_the_error_of_a_denoiser_grows_with_the_noise_and_its_own_level_is_among_them():
    found = collect.gathered(fitted("denoising"), X).seen.noise
    assert found.before[0] == 0
    assert list(found.before) == sorted(found.before)
    at = found.factors.index(1.0)
    assert found.before[at] == pytest.approx(fitted("denoising").model_.recipe.corruption.sigma ** 2, rel=0.05)
    assert found.after[-1] > found.after[0]


CORRUPTIONS = [
    parts.GaussianNoise(0.2),
    parts.SaltAndPepper(0.2, 0.0, 1.0),
    parts.Masking(0.2),
    parts.Missing(0.2),
    parts.Chain((parts.GaussianNoise(0.2), parts.Masking(0.2))),
    parts.OneOf((parts.GaussianNoise(0.2), parts.Masking(0.2))),
]


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=repr)
def test_a_corruption_times_a_factor(corruption):
    rows = jnp.full((200, 50), 0.5)

    def harm(part):
        noisy = part(jax.random.key(0), rows)
        return float(jnp.where(jnp.isnan(noisy), 1.0, jnp.abs(noisy - rows)).mean())

    assert harm(corruption.times(0.0)) == 0
    assert harm(corruption.times(1.0)) == harm(corruption)
    assert harm(corruption.times(0.5)) < harm(corruption) < harm(corruption.times(2.0))


def test_no_corruption_has_no_level():
    assert parts.NoCorruption().times(2.0) is None


# -- the doctor -------------------------------------------------------------------------------------------------------


def said(model, rows):
    return {finding.what: finding for finding in diagnostics.examine(collect.gathered(model, rows))}


def with_history(model, **curves):
    """The same model, had it learned so."""
    other = MAKERS["basic"]()
    other.history_ = curves
    other.n_epochs_ = len(curves["loss"])
    other.best_epoch_ = int(np.argmin(curves.get("validation_loss", curves["loss"]))) + 1
    return other


RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(300, 6))


def test_a_collapsed_posterior_is_found():
    noise_only = diabolo.VariationalAutoencoder(n_latent=3, beta=50.0, max_epochs=30, random_state=0).fit(NORMAL)
    finding = said(noise_only, NORMAL)["Posterior collapse"]
    assert finding.serious
    assert "None of 3" in finding.figure


def test_units_without_work_are_counted():
    line = RNG.normal(size=(400, 1)) * np.ones(6) + 0.05 * RNG.normal(size=(400, 6))
    model = diabolo.VariationalAutoencoder(n_latent=6, max_epochs=400, random_state=0).fit(line)
    active = int(diabolo.metrics.active_units(model.transform(line)).sum())
    assert active < 3
    assert f"{active} of 6" in said(model, line)["Inactive latent units"].figure


def test_dead_units_are_found():
    latent = parts.Code(8, "relu")
    model = diabolo.Autoencoder(encoder=parts.MLP(()), latent=latent, max_epochs=0, random_state=0).fit(NORMAL)
    bias = model.model_.weights.encoder.layers[-1].bias.at[:4].set(-100.0)
    weights = eqx.tree_at(lambda w: w.encoder.layers[-1].bias, model.model_.weights, bias)
    model.model_ = type(model.model_)(model.model_.recipe, weights)
    assert "4 of 8" in said(model, NORMAL)["Dead units"].figure


def test_a_code_that_is_not_sparse_is_found():
    loose = diabolo.SparseAutoencoder(n_hidden=20, sparsity_weight=1e-6, init="random", max_epochs=5, random_state=0)
    loose.fit(NORMAL)
    assert "ρ is 0.05" in said(loose, NORMAL)["Sparsity off target"].figure


def test_overfitting_is_found():
    rising = [10, 5, 3, 2.5, 2.4, 2.6, 3, 3.4, 4, 4.5]
    falling = [10, 5, 3, 2, 1.5, 1.2, 1, 0.9, 0.8, 0.7]
    finding = said(with_history(None, loss=falling, validation_loss=rising), X)["Overfitting"]
    assert "epoch 5 of 10" in finding.figure


def test_a_gap_between_held_out_and_training_rows_is_overfitting():
    held = [10, 8, 7, 6.5, 6.4, 6.3, 6.25, 6.2, 6.2, 6.2]
    own = [10, 7, 5, 4, 3, 2.5, 2, 1.5, 1.2, 1.0]
    finding = said(with_history(None, loss=own, validation_loss=held), X)["Overfitting"]
    assert "the training loss 1.5" in finding.figure


def test_stopping_too_early_is_found():
    falling = list(np.linspace(10, 1, 400))
    assert (
        "max_epochs=800"
        in said(with_history(None, loss=falling, validation_loss=falling), X)["Stopped too early"].remedy
    )


def test_few_steps_are_counted():
    brief = diabolo.Autoencoder(encoder=parts.MLP((8,)), max_epochs=20, random_state=0).fit(NORMAL)
    assert "60 steps" in said(brief, NORMAL)["Stopped too early"].figure


def test_a_learned_sigma_at_its_floor_is_named():
    doubled = np.hstack([NORMAL[:, :2], np.ones((300, 1))])
    model = diabolo.VariationalAutoencoder(
        n_latent=2, max_epochs=300, learning_rate=0.01, batch_size=32, random_state=0
    )
    model.fit(doubled)
    assert said(model, doubled)["Learned σ at its floor"].figure.startswith("2:")


def test_features_in_very_different_units_are_named():
    mixed = NORMAL * [1, 1, 1, 1, 1, 1e4]
    model = diabolo.BasicAutoencoder(n_latent=2, scaling=None, **FEW).fit(mixed)
    finding = said(model, mixed)["Features in very different units"]
    assert finding.serious
    assert " 5 " in finding.figure


def test_too_much_noise_is_found():
    drowned = diabolo.DenoisingAutoencoder(n_latent=4, noise_level=20.0, **FEW).fit(NORMAL)
    assert "Noise level too high" in said(drowned, NORMAL)


def test_a_likelihood_that_does_not_suit_the_rows_is_found():
    assert "for 0 and 1" in said(fitted("bernoulli"), X)["Likelihood mismatch"].figure
    bits = (X > 0.5).astype(float)
    gaussian = diabolo.BasicAutoencoder(n_latent=2, scaling=None, **FEW).fit(bits)
    assert "for real numbers" in said(gaussian, bits)["Likelihood mismatch"].figure


def test_a_sigma_that_does_not_fit_is_found():
    wide = diabolo.VariationalAutoencoder(n_latent=2, likelihood=parts.Gaussian(30.0), **FEW).fit(NORMAL)
    assert "σ is 30" in said(wide, NORMAL)["σ mismatch"].figure


def test_a_good_model_is_left_in_peace():
    rows = RNG.normal(size=(600, 2)) @ RNG.normal(size=(2, 8)) + 0.1 * RNG.normal(size=(600, 8))
    good = diabolo.BasicAutoencoder(n_latent=2, max_epochs=300, learning_rate=1e-2, random_state=0).fit(rows)
    assert not said(good, rows)
    assert "Nothing is amiss" in reported(good, rows)[0]


# -- in a browser -----------------------------------------------------------------------------------------------------

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_a_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="there is no chromium with its driver: apt-get install chromium chromium-driver"
)


@pytest.fixture(scope="module")
def chromium():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def opened(driver, html, folder):
    file = folder / "report.html"
    file.write_text(html, encoding="utf-8")
    driver.get_log("browser")
    driver.get(file.as_uri())
    for _ in range(300):
        if driver.execute_script("return document.documentElement.dataset.ready"):
            break
        time.sleep(0.1)
    errors = [line for line in driver.get_log("browser") if line["level"] == "SEVERE"]
    assert not errors
    return driver


@needs_a_browser
@pytest.mark.parametrize("name", MAKERS)
def test_the_decoder_in_the_page_is_pythons(name, chromium, tmp_path):
    model = fitted(name)
    opened(chromium, page(name), tmp_path)
    z = np.random.default_rng(1).normal(size=(100, model.model_.recipe.latent.n_latent)).astype(np.float32)
    told = chromium.execute_script("return arguments[0].map((z) => Array.from(window.diabolo.decode(z)))", z.tolist())
    np.testing.assert_allclose(told, inference.by_rows(inference.decode, model.model_, z), atol=1e-4, rtol=1e-5)


def _forms(z):
    """All that the page can do, in one function of (1, 4)."""
    x = z * jnp.array([1.0, -2.0, 0.5, 3.0])
    image = jnp.broadcast_to(jnp.outer(z[0], z[0])[None, :, :, None], (1, 4, 4, 2))
    kernel = jnp.sin(jnp.arange(3 * 3 * 2 * 3.0)).reshape(3, 3, 2, 3)
    convolved = jax.lax.conv_general_dilated(
        image, kernel, (2, 1), [(1, 1), (0, 2)], (1, 2), (2, 1), ("NHWC", "HWIO", "NHWC")
    )
    in_channels = jax.lax.conv_general_dilated(
        image.transpose(0, 3, 1, 2),
        kernel[..., :1, :2],
        (1, 1),
        "SAME",
        feature_group_count=2,
        dimension_numbers=("NCHW", "HWIO", "NCHW"),
    )
    pieces = [
        *(f(x) for f in (jnp.abs, jnp.ceil, jnp.cos, jnp.exp, jnp.exp2, jnp.expm1, jnp.floor, jnp.sign, jnp.sin)),
        *(f(x) for f in (jnp.tanh, jax.lax.erf, jax.lax.erfc, jax.nn.sigmoid, jnp.square, jnp.round, jnp.tan)),
        jax.nn.gelu(x), jnp.outer(z, x) + x, jnp.outer(z, x) * jnp.array([[1.0, 2.0, 3.0, 4.0]]),
        *(f(jnp.abs(x) + 0.1) for f in (jnp.log, jnp.log1p, jnp.sqrt, jax.lax.rsqrt, jax.lax.lgamma)),
        x / (z + 10), jnp.maximum(x, z), jnp.minimum(x, z), jnp.abs(x) ** 1.5, x**3, x**-2, jnp.arctan2(x, z),
        jax.lax.rem(x, jnp.full_like(x, 0.7)), jnp.clip(x, -1, 1),
        jnp.where((x > 0) & (z < 0) | (x == z), x, -z),
        jnp.where(~(x >= 0) | (x <= -9) | (x != x), 1.0, 2.0), jnp.isfinite(x).astype(jnp.float32),
        x.reshape(4, 1)[np.array([2, 0, 0, 3, 1])],
        x.astype(jnp.int32).astype(jnp.float32), x[:, ::-1], x[:, 1:3], x[:, ::2], *jnp.split(x, 2, axis=1),
        jnp.concatenate([x, z], axis=0).T, jnp.pad(x, ((0, 1), (1, 2)), constant_values=0.25),
        jax.lax.pad(x, 0.5, [(0, 0, 0), (-1, 1, 1)]), x.sum(axis=1), jnp.outer(x, z).max(axis=0),
        jnp.outer(x, z).min(axis=1), x.prod(axis=1), jax.nn.softmax(x), jax.nn.silu(x), jax.nn.elu(x),
        jnp.einsum("ai,bj->ijab", x, z), jnp.einsum("ai,ij->aj", x, jnp.outer(z, x)), convolved, in_channels,
        jnp.broadcast_to(x.reshape(4, 1), (4, 3)), jax.nn.logsumexp(x, axis=1),
    ]  # fmt: skip
    return jnp.concatenate([piece.astype(jnp.float32).ravel() for piece in pieces])[None]


@needs_a_browser
def test_every_step_that_is_covered_is_carried_out_rightly(chromium, tmp_path):
    opened(chromium, page("basic"), tmp_path)
    found = jaxpr.program(_forms, (1, 4))
    used = {step["op"] for step in found.steps}
    known = set(jaxpr.OPS) - {*jaxpr._SAME, *jaxpr._RESHAPES, "dot_general", "conv_general_dilated", "split"}
    assert known - used <= {"convert_element_type", "clamp", "square", "rem"} | {"convert"}
    told = {
        "steps": found.steps,
        "shapes": {str(k): list(v) for k, v in found.shapes.items()},
        "constants": list(found.constants),
        "argument": found.argument,
        "result": found.result,
    }
    numbers = np.concatenate([array.ravel() for array in found.constants.values()])
    numbers = base64.b64encode(numbers.astype("<f4").tobytes()).decode()  # some are infinite, which JSON does not know
    run = (
        "const numbers = new Float32Array(Uint8Array.from(atob(arguments[1]), (c) => c.charCodeAt(0)).buffer);"
        "return Array.from(Runtime(arguments[0], numbers)(arguments[2]))"
    )
    for seed in range(5):
        z = np.random.default_rng(seed).normal(size=4).astype(np.float32)
        want = np.asarray(jax.jit(_forms)(z[None]))[0]
        got = np.array(chromium.execute_script(run, told, numbers, z.tolist()), float)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


def pixels(driver):
    return driver.execute_script(
        "const c = document.querySelector('#explored canvas');"
        "return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    )


@needs_a_browser
def test_a_slider_that_moves_changes_the_picture(chromium, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened(chromium, page("variational"), tmp_path)
    before = pixels(chromium)
    slider = chromium.find_element(By.CSS_SELECTOR, "#sliders input")
    for _ in range(40):
        slider.send_keys(Keys.ARROW_RIGHT)
    after = pixels(chromium)
    assert before != after
    code = np.array(chromium.execute_script("return window.diabolo.code()"), np.float32)
    shown = np.array(after).reshape(-1, 4)[:, 0]
    want = fitted("variational").inverse_transform(code[None])[0]
    np.testing.assert_allclose(shown, np.clip(want * 255, 0, 255), atol=1)
    chromium.find_element(By.ID, "explore-reset").click()
    assert pixels(chromium) == before


@needs_a_browser
def test_a_tables_row_is_decoded_in_the_users_units(chromium, tmp_path):
    opened(chromium, page("table"), tmp_path)
    model, z = fitted("table"), [0.7, -1.1]
    chromium.execute_script("window.diabolo.set(arguments[0])", z)
    lines = chromium.execute_script(
        "return [...document.querySelectorAll('#explored tr')]"
        ".map((r) => [...r.cells].slice(0, 2).map((c) => c.textContent))"
    )
    want = model.inverse_transform(np.array([z])).to_pylist()[0]
    for name, text in lines:
        value = want[name]
        assert text == value if isinstance(value, str) else float(text) == pytest.approx(value, rel=1e-3)
    assert len(lines) == 5


@needs_a_browser
def test_the_map_shows_rows_by_keyboard_and_takes_the_explorer_there(chromium, tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened(chromium, page("wine"), tmp_path)
    slider = chromium.find_element(By.ID, "map-row")
    slider.send_keys(Keys.ARROW_RIGHT)
    assert chromium.find_element(By.CSS_SELECTOR, "#map-shown td").text == "2"
    code = chromium.execute_script("return window.diabolo.code()")
    np.testing.assert_allclose(code, fitted("wine").transform(load_wine(as_frame=True).data)[1], rtol=1e-3)


@needs_a_browser
@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_runs_out_of_the_page(width, chromium, tmp_path):
    opened(chromium, page("table"), tmp_path)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        time.sleep(0.5)
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@needs_a_browser
def test_light_and_dark_can_be_chosen(chromium, tmp_path):
    from selenium.webdriver.common.by import By

    opened(chromium, page("basic"), tmp_path)

    def ground():
        return chromium.execute_script("return getComputedStyle(document.body).backgroundColor")

    before = ground()
    chromium.find_element(By.ID, "theme").click()
    assert ground() != before


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_says_what_is_amiss(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted("table").save("run")
    pa.csv.write_csv(iris().append_column("bed", pa.array(["a", "b", "c"] * 50)), "iris.csv")
    status, out, err = run("report", "run", "iris.csv", "--color", "bed", "-o", "page.html")
    assert status == 0, err
    assert "the report is page.html" in out
    assert set(bundle((tmp_path / "page.html").read_text())["map"]["colors"]["label"]) == {"a", "b", "c"}
    findings = diagnostics.examine(collect.gathered(fitted("table"), iris()))
    assert all(finding.figure in out for finding in findings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "iris.csv", "--color", "nope"), "nope"),
        (("run", "--color", "species"), "--color needs DATA"),
        (("run", "iris.csv", "--image-shape", "8"), "HEIGHTxWIDTH"),
        (("run", "iris.csv", "--image-shape", "8x9"), "image_shape"),
        (("run", "iris.csv", "-o", "nowhere/page.html"), "cannot be written"),
    ],
)
def test_the_command_refuses_in_one_line_and_writes_nothing(arguments, message, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted("table").save("run")
    pa.csv.write_csv(iris(), "iris.csv")
    status, _, err = run("report", *arguments)
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("*.html"))


def test_every_autoencoder_has_a_report():
    assert BaseAutoencoder.report.__doc__
