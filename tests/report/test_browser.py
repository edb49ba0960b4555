"""The page in a real browser."""

import base64
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_wine

from diabolo.engine import inference, jaxpr
from reported_models import MAKERS, fitted, page

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
    np.testing.assert_allclose(told, inference.map_rows(inference.decode, model.model_, z), atol=1e-4, rtol=1e-5)


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
    known = set(jaxpr.OPS) - {
        *jaxpr._SAME,
        *jaxpr._RESHAPES,
        *jaxpr._EXPANDED,
        "dot_general",
        "conv_general_dilated",
        "split",
    }
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
    np.testing.assert_allclose(code, np.asarray(fitted("wine").transform(load_wine(as_frame=True).data))[1], rtol=1e-3)


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
