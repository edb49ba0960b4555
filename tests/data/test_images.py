"""Images of every mode, depth and shape: 0 is black, 1 is white, and nothing is lost in silence."""

import numpy as np
import pytest
from PIL import Image

import diabolo
from diabolo.data import readers, writers
from diabolo.errors import InvalidData

RAMP = np.arange(24, dtype=np.float64).reshape(4, 6) / 23


def saved(folder, picture, name="a.png", **more):
    picture.save(folder / name, **more)
    return folder / name


def pixels(path):
    table = readers.read(path)
    return table.rows.reshape(-1, *table.images.shape)


def grey(values=RAMP):
    return Image.fromarray(np.rint(255 * values).astype(np.uint8))


DEPTHS = {
    "8 bits": (grey(), "a.png", 1 / 255),
    "16 bits": (Image.fromarray(np.rint(65535 * RAMP).astype(np.uint16)), "a.png", 1 / 65535),
    "16 bits, TIFF": (Image.fromarray(np.rint(65535 * RAMP).astype(np.uint16)), "a.tif", 1 / 65535),
    "16 bits in 32": (Image.fromarray(np.rint(65535 * RAMP).astype(np.int32)), "a.tif", 1 / 65535),
    "floats": (Image.fromarray(RAMP.astype(np.float32)), "a.tif", 1e-6),
    "1 bit": (Image.fromarray(RAMP > 0.5), "a.png", 0.5),
    "grey with alpha": (grey().convert("LA"), "a.png", 1 / 255),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_black_is_0_and_white_1_at_any_depth(name, tmp_path):
    picture, file, close = DEPTHS[name]
    got = pixels(saved(tmp_path, picture, file))
    assert got.shape == (1, 4, 6)
    np.testing.assert_allclose(got[0], RAMP, atol=close)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_white_is_white_and_black_black_in_every_mode(mode, tmp_path):
    white = np.zeros((4, 6), bool)
    white[:, 3:] = True
    top = {"I;16": 65535, "I": 65535, "F": 1.0}.get(mode)
    if top is None:
        picture = Image.fromarray(white).convert("RGB").convert(mode)
    else:
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        picture = Image.fromarray((white * top).astype(kind))
    file = "a.tif" if mode in ("CMYK", "YCbCr", "I", "F") else "a.png"
    got = pixels(saved(tmp_path, picture, file))[0]
    got = got if got.ndim == 2 else got.mean(axis=-1)
    np.testing.assert_allclose(got, white, atol=0.02)


BAD = {
    "floats beyond 1": (Image.fromarray(255 * RAMP.astype(np.float32)), "a.tif"),
    "negative floats": (Image.fromarray(RAMP.astype(np.float32) - 1), "a.tif"),
    "8 bits in 32": (Image.fromarray(np.rint(255 * RAMP).astype(np.int32)), "a.tif"),
    "32 bits": (Image.fromarray((2.0**30 * RAMP).astype(np.int32)), "a.tif"),
    "floats that are none": (Image.fromarray(np.full((4, 6), np.nan, np.float32)), "a.tif"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_tell_its_white_is_refused(name, tmp_path):
    with pytest.raises(InvalidData, match="a.tif"):
        readers.read(saved(tmp_path, *BAD[name]))


def test_transparent_images_lie_on_white(tmp_path):
    black = np.zeros((4, 6, 4), np.uint8)
    black[..., 3] = np.rint(255 * RAMP)
    np.testing.assert_allclose(pixels(saved(tmp_path, Image.fromarray(black)))[0][..., 0], 1 - RAMP, atol=1 / 200)
    white = black.copy()
    white[..., :3] = 255
    with pytest.raises(InvalidData, match="transparent"):
        readers.read(saved(tmp_path, Image.fromarray(white), "w.png"))


def test_images_are_turned_as_they_say(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    got = pixels(saved(tmp_path, grey(), exif=exif))[0]
    np.testing.assert_allclose(got, np.rot90(RAMP, -1), atol=1 / 255)


@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.webp"])
def test_each_page_is_a_row_and_comes_out_as_a_file(name, tmp_path):
    frames = [grey(RAMP**k).convert("RGB") for k in (1, 2, 3)]
    (tmp_path / "in").mkdir()
    more = {"lossless": True} if name == "a.webp" else {}
    saved(tmp_path / "in", frames[0], name, save_all=True, append_images=frames[1:], **more)
    table = readers.read(tmp_path / "in")
    got = table.rows.reshape(-1, *table.images.shape)
    assert len(got) == 3
    for k, frame in enumerate(got, start=1):
        np.testing.assert_allclose(frame.mean(axis=-1), RAMP**k, atol=0.02)
    writers.write(str(tmp_path / "out"), table, table.images)
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_moving_png_is_refused(tmp_path):
    with pytest.raises(InvalidData, match="moves"):
        readers.read(saved(tmp_path, grey(), save_all=True, append_images=[grey(1 - RAMP)]))


def test_files_of_one_name_in_two_folders_stay_two(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("in/u", "in/v"):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(12):
            saved(tmp_path / folder, grey((RAMP * (i + 1) / 13) ** (1 + (folder == "in/v"))), f"{i}.png")
    assert run("fit", "in/**/*.png", "-m", "basic", "-o", "model", "-s", "max_epochs=1", "-q")[0] == 0
    assert run("reconstruct", "model", "in/**/*.png", "-o", "out")[0] == 0
    made = sorted(str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*.png"))
    assert made == sorted(f"{folder}/{i}.png" for folder in "uv" for i in range(12))


def test_a_model_of_one_shape_refuses_another(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, turned in (("wide", False), ("high", True)):
        (tmp_path / folder).mkdir()
        for i in range(12):
            values = RAMP * (i + 1) / 13
            saved(tmp_path / folder, grey(values.T if turned else values), f"{i}.png")
    model = diabolo.BasicAutoencoder(max_epochs=1).fit("wide")
    with pytest.raises(InvalidData, match="4×6"):
        model.reconstruct("high")
    model.save("model")
    assert run("reconstruct", "model", "high", "-o", "out")[0] == 2
    assert not (tmp_path / "out").exists()
