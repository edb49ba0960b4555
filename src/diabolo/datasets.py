"""Small data sets for trials: a table with anomalies, a table with gaps, images and a series.

Each is simulated by the formula in its docstring, with a fixed seed, so that nothing is downloaded and no licence
applies. The functions follow scikit-learn's ``load_…``; `write` writes the same rows as files for the command line.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from sklearn.utils import Bunch

from . import outputs
from .errors import InvalidData, InvalidParameter, MissingDependencyError, suggest

__all__ = ["NAMES", "describe", "load_homes", "load_pulse", "load_pump", "load_shapes", "write"]

Loaded: TypeAlias = "Bunch | tuple[object, object]"
Rng = np.random.RandomState  # its streams are the same in every version of NumPy
_PUMP = ("speed", "flow", "pressure", "power", "current", "temperature", "ambient", "vibration")
_FAULTS = ("none", "blocked inlet", "leak", "worn bearing", "stuck flow meter")
_BEATS = ("normal", "premature")
_SHAPES = ("disc", "ring", "square", "triangle", "cross")
_SIDE, _BEAT, _HELD_OUT = 16, 96, 60


def load_pump(*, subset: str = "normal", return_X_y: bool = False, as_frame: bool = False) -> Loaded:
    """Load measurements of a pump: a numeric table in which faults break the relations between columns.

    Speed n is uniform, and the other columns follow from it by the affinity laws with 1 to 3 % of noise: flow ∝ n,
    pressure ∝ n² less the loss in the pipe, power ∝ flow · pressure, current ∝ power, temperature rises above the
    ambient with power, vibration rises with n. A tenth of the rows of ``subset="new"`` has one of four faults: a
    blocked inlet, a leak, a worn bearing, a stuck flow meter. Hardly any cell of these is outside its column's range.

    Parameters
    ----------
    subset : {"normal", "new"}, default="normal"
        "normal": 1,000 rows without faults. "new": 400 other rows, 40 of them with a fault.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Return pandas objects instead of arrays.

    Returns
    -------
    Bunch or tuple
        ``data``: (n, 8), in min⁻¹, m³/h, bar, kW, A, °C, °C and mm/s; ``target``: (n,), the number of the fault, 0
        for none; ``target_names``; ``feature_names``; ``DESCR``; with ``as_frame`` also ``frame``.

    Raises
    ------
    InvalidParameter
        If ``subset`` is neither "normal" nor "new".

    Examples
    --------
    >>> from diabolo.datasets import load_pump
    >>> X, fault = load_pump(subset="new", return_X_y=True)
    >>> X.shape, int((fault > 0).sum())
    ((400, 8), 40)
    """
    is_new = _is_new(subset)
    rng, n = Rng(2 if is_new else 1), 400 if is_new else 1000
    fault = np.zeros(n, int)
    if is_new:
        fault[rng.permutation(n)[:40]] = 1 + np.arange(40) % 4

    def noisy(values: np.ndarray, share: float) -> np.ndarray:
        return values * (1 + share * rng.normal(size=n))

    speed, opening, ambient = rng.uniform(900, 1800, n), rng.uniform(0.8, 1.0, n), rng.normal(18, 4, n)
    size = rng.uniform(0.8, 1.2, n)  # of the fault
    relative = speed / 1450
    flow = noisy(90 * relative * opening, 0.01) * np.where(fault == 1, 1 - 0.3 * size, 1)
    pressure = noisy(6 * relative**2 - 1.5 * (flow / 90) ** 2, 0.01) * np.where(fault == 2, 1 - 0.2 * size, 1)
    power = noisy(2 + flow * pressure / 25, 0.015) * np.where(fault == 3, 1 + 0.1 * size, 1)
    current = noisy(1.9 * power, 0.01)
    temperature = noisy(ambient + 12 + 0.9 * power, 0.02) + np.where(fault == 3, 8 * size, 0)
    vibration = noisy(0.6 + 1.4 * relative**2, 0.03) * np.where(fault == 3, 1 + 0.5 * size, 1)
    flow = np.where(fault == 4, 75 + 0.3 * rng.normal(size=n), flow)
    columns = (speed, flow, pressure, power, current, temperature, ambient, vibration)
    data = np.round(np.stack(columns, axis=1), 2)
    return _bunch(load_pump, data, fault, _PUMP, _FAULTS, return_X_y, as_frame)


def load_homes(*, return_X_y: bool = False, as_frame: bool = False) -> Loaded:
    """Load sales of homes: a table of texts, dates, counts and numbers, in which an eighth of the cells is empty.

    The district sets the price of a square metre, the kind of home its area; rooms are Poisson with a mean that grows
    with the area, the energy class worsens with age, and the price is the product of area, district, year, class and
    garden with 7 % of noise. Cells are emptied independently, with probability 1/8, in all columns but the kind.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Return pandas data frames instead of Arrow tables.

    Returns
    -------
    Bunch or tuple
        ``data``: 800 rows, 9 columns, with empty cells; ``target``: the same table before its cells were emptied;
        ``feature_names``; ``DESCR``; with ``as_frame`` also ``frame``, which is ``data``.

    Examples
    --------
    >>> from diabolo.datasets import load_homes
    >>> homes = load_homes()
    >>> homes.data.column_names
    ['district', 'kind', 'area', 'rooms', 'built', 'energy', 'garden', 'sold', 'price']
    >>> homes.data["price"].null_count, homes.target["price"].null_count
    (100, 0)
    """
    rng, n = Rng(3), 800
    district, kind = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1]), rng.choice(3, n, p=[0.5, 0.3, 0.2])
    area = np.round(np.array([68, 115, 150])[kind] * np.exp(0.22 * rng.normal(size=n)), 1)
    rooms = 1 + rng.poisson(area / 35)
    built = rng.randint(1900, 2024, n)
    energy = np.clip(np.round((2024 - built) / 22 + rng.normal(size=n)), 0, 6).astype(int)
    garden = rng.uniform(size=n) < np.array([0.1, 0.7, 0.95])[kind]
    days = rng.randint(0, 730, n)
    level = np.array([5.2, 4.1, 3.3, 2.6])[district] * (1 - 0.04 * energy) * (1 + 0.08 * garden)
    price = np.round(area * level * (1 + 0.04 * days / 365) * np.exp(0.07 * rng.normal(size=n)), 1)
    full = {
        "district": np.array(["old town", "harbour", "park", "hills"])[district],
        "kind": np.array(["flat", "terraced", "detached"])[kind],
        "area": area,
        "rooms": rooms,
        "built": built,
        "energy": np.array(list("ABCDEFG"))[energy],
        "garden": garden,
        "sold": np.datetime64("2022-01-01") + days,
        "price": price,
    }
    empty = {name: (rng.uniform(size=n) < 1 / 8) & (name != "kind") for name in full}
    complete = pa.table({name: pa.array(cells) for name, cells in full.items()})
    data = pa.table({name: pa.array(cells, mask=empty[name]) for name, cells in full.items()})
    found: list[object] = [data, complete]
    if as_frame:
        _require_pandas()
        found = [data.to_pandas(), complete.to_pandas()]
    if return_X_y:
        return found[0], found[1]
    bunch = Bunch(data=found[0], target=found[1], feature_names=list(full), DESCR=load_homes.__doc__)
    if as_frame:
        bunch["frame"] = bunch.data
    return bunch


def load_shapes(*, return_X_y: bool = False, as_frame: bool = False) -> Loaded:
    """Load images of five shapes, without and with noise.

    A shape has a centre, a radius and a brightness, all uniform, and its edge is one pixel of grey: a pixel is the
    brightness times clip(½ − s, 0, 1), with its signed distance s from the edge. The noise is normal with σ = 0.2, and
    the noisy pixels are clipped to [0, 1].

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Return pandas objects instead of arrays.

    Returns
    -------
    Bunch or tuple
        ``data``: (300, 256), grey values in [0, 1], steps of 1/255; ``images``: the same as (300, 16, 16); ``noisy``:
        (300, 256), ``data`` with noise; ``target``: (300,), the number of the shape; ``target_names``;
        ``feature_names``; ``DESCR``; with ``as_frame`` also ``frame``.

    Examples
    --------
    >>> from diabolo.datasets import load_shapes
    >>> shapes = load_shapes()
    >>> shapes.images.shape, shapes.target_names
    ((300, 16, 16), ['disc', 'ring', 'square', 'triangle', 'cross'])
    """
    rng, n = Rng(4), 300
    shape = np.arange(n) % len(_SHAPES)
    radius = rng.uniform(3.5, 5.5, (n, 1, 1))
    centre = _SIDE / 2 + rng.uniform(-2, 2, (2, n, 1, 1))
    light = rng.uniform(0.6, 1.0, (n, 1, 1))
    y, x = np.indices((_SIDE, _SIDE))[:, None] + 0.5 - centre
    square = np.maximum(abs(x), abs(y))
    distance = np.select(
        [shape[:, None, None] == i for i in range(len(_SHAPES))],
        [
            np.hypot(x, y) - radius,
            abs(np.hypot(x, y) - radius) - 1,
            square - 0.85 * radius,
            np.maximum(y - 0.7 * radius, 0.87 * abs(x) - 0.5 * y - 0.6 * radius),
            np.maximum(np.minimum(abs(x), abs(y)) - 1.1, square - radius),
        ],
    )
    images = np.round(255 * light * np.clip(0.5 - distance, 0, 1)) / 255
    data = images.reshape(n, -1)
    noisy = np.round(255 * np.clip(data + 0.2 * rng.normal(size=data.shape), 0, 1)) / 255
    names = [f"pixel_{i}_{j}" for i in range(_SIDE) for j in range(_SIDE)]
    return _bunch(load_shapes, data, shape, names, _SHAPES, return_X_y, as_frame, images=images, noisy=noisy)


def load_pulse(*, subset: str = "normal", return_X_y: bool = False, as_frame: bool = False) -> Loaded:
    """Load heartbeats of a simulated electrocardiogram: windows of a series, in which some beats come too early.

    A beat is the sum of five normal curves over a window of 0.8 s, the waves P, Q, R, S and T, after the
    waves of McSharry et al. (2003): each time varies by 8 ms, each height by 8 %. A premature beat has
    no P wave, a QRS complex of twice the width, and a T wave of the other sign. A slow sine of random phase and 0.02 mV
    of noise are added.

    Parameters
    ----------
    subset : {"normal", "new"}, default="normal"
        "normal": 500 normal beats. "new": 300 other beats, 30 of them premature.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Return pandas objects instead of arrays.

    Returns
    -------
    Bunch or tuple
        ``data``: (n, 96), in mV, 120 samples per second; ``target``: (n,), 1 for a premature beat, otherwise 0;
        ``target_names``; ``feature_names``; ``DESCR``; with ``as_frame`` also ``frame``.

    Raises
    ------
    InvalidParameter
        If ``subset`` is neither "normal" nor "new".

    References
    ----------
    McSharry, Clifford, Tarassenko & Smith (2003), "A dynamical model for generating synthetic electrocardiogram
    signals".

    Examples
    --------
    >>> from diabolo.datasets import load_pulse
    >>> load_pulse().data.shape
    (500, 96)
    """
    is_new = _is_new(subset)
    rng, n = Rng(6 if is_new else 5), 300 if is_new else 500
    early = np.zeros(n, int)
    if is_new:
        early[rng.permutation(n)[:30]] = 1
    waves = np.array([[0.20, 0.12, 0.025], [0.34, -0.15, 0.010], [0.37, 1.2, 0.011], [0.40, -0.25, 0.010],
                      [0.60, 0.30, 0.045]])  # fmt: skip
    change = np.array([[1, 0, 1], [1, 1, 2], [1, 0.9, 2], [1, 1, 2], [1, -0.9, 1]])
    each = waves * np.where(early[:, None, None] == 1, change, 1)
    centres = each[:, :, 0] + 0.008 * rng.normal(size=(n, 5))
    heights = each[:, :, 1] * (1 + 0.08 * rng.normal(size=(n, 5)))
    seconds = np.arange(_BEAT) / 120
    away = (seconds[:, None] - centres[:, None]) / each[:, None, :, 2]
    beats = (heights[:, None] * np.exp(-0.5 * away**2)).sum(axis=2)
    drift = 0.05 * np.sin(2 * np.pi * (0.25 * seconds + rng.uniform(size=(n, 1))))
    data = np.round(beats + drift + 0.02 * rng.normal(size=beats.shape), 3)
    names = [f"ms_{round(1000 * second)}" for second in seconds]
    return _bunch(load_pulse, data, early, names, _BEATS, return_X_y, as_frame)


_LOADERS: dict[str, Callable[..., Bunch]] = {
    "homes": load_homes,
    "pulse": load_pulse,
    "pump": load_pump,
    "shapes": load_shapes,
}
NAMES = tuple(_LOADERS)
"""The names of the data sets, as `write` and ``diabolo datasets`` take them."""
_FILES = {
    "homes": ("gaps.csv", "complete.csv"),
    "pulse": ("normal.csv", "new.csv"),
    "pump": ("normal.csv", "new.csv"),
    "shapes": ("clean", "noisy", "truth"),
}


def describe() -> dict[str, str]:
    """Return one line about each data set, by name."""
    return {name: str(load.__doc__).split("\n")[0].removeprefix("Load ") for name, load in _LOADERS.items()}


def write(name: str, folder: str | os.PathLike[str]) -> list[Path]:
    """Write a data set as files, for the command line.

    Parameters
    ----------
    name : {"homes", "pulse", "pump", "shapes"}
        The data set.
    folder : path
        The folder to create, with "normal.csv" and "new.csv" (pump and pulse; "new.csv" also has the true fault), with
        "gaps.csv" and "complete.csv" (homes), or with folders of PNG images (shapes): "clean", 240 to learn from,
        "noisy", 60 others with noise, and "truth", these without noise.

    Returns
    -------
    list of Path
        The files or folders written.

    Raises
    ------
    InvalidParameter
        If there is no such data set.
    InvalidData
        If ``folder`` exists and is not empty, or cannot be written.
    """
    if name not in _LOADERS:
        raise InvalidParameter(f"There is no data set {name!r}. {suggest(name, NAMES)}")
    try:
        with outputs.write_folder(folder) as scratch:
            if name == "shapes":
                _write_images(scratch)
            else:
                for file, table in zip(_FILES[name], _tables(name), strict=True):
                    _write_csv(scratch / file, table)
    except outputs.NotOurs as error:
        raise InvalidData(f"{folder} exists already. Choose another name.") from error
    except OSError as error:
        raise InvalidData(f"{folder} cannot be written: {error.strerror or error}.") from error
    return [Path(folder) / file for file in _FILES[name]]


def _is_new(subset: str) -> bool:
    if subset not in ("normal", "new"):
        raise InvalidParameter(f"subset must be 'normal' or 'new'; got {subset!r}.")
    return subset == "new"


def _require_pandas() -> None:
    try:
        import pandas  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("as_frame=True needs pandas: pip install pandas.") from error


def _bunch(
    load: Callable[..., object],
    data: np.ndarray,
    target: np.ndarray,
    names: Sequence[str],
    kinds: Sequence[str],
    return_X_y: bool,
    as_frame: bool,
    **more: np.ndarray,
) -> Loaded:
    """Return the rows as scikit-learn's loaders do."""
    found: dict[str, object] = {"data": data, "target": target}
    if as_frame:
        _require_pandas()
        import pandas as pd

        found = {"data": pd.DataFrame(data, columns=list(names)), "target": pd.Series(target, name="target")}
        found["frame"] = pd.concat([found["data"], found["target"]], axis=1)
    if return_X_y:
        return found["data"], found["target"]
    return Bunch(**found, target_names=list(kinds), feature_names=list(names), DESCR=load.__doc__, **more)


def _tables(name: str) -> tuple[pa.Table, pa.Table]:
    """Return the two tables of a data set, as its files hold them."""
    if name == "homes":
        homes = _LOADERS["homes"]()
        return homes.data, homes.target
    both = [_LOADERS[name](subset=subset) for subset in ("normal", "new")]
    tables = [pa.table(dict(zip(one.feature_names, one.data.T, strict=True))) for one in both]
    truth = np.array(both[1].target_names)[both[1].target]
    return tables[0], tables[1].append_column("truth", pa.array(truth))


def _write_csv(file: Path, table: pa.Table) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _write_images(folder: Path) -> None:
    from PIL import Image

    shapes = _LOADERS["shapes"]()
    n, learned = len(shapes.data), range(len(shapes.data) - _HELD_OUT)
    others = range(n - _HELD_OUT, n)
    for kind, rows, some in zip(
        _FILES["shapes"], (shapes.data, shapes.noisy, shapes.data), (learned, others, others), strict=True
    ):
        (folder / kind).mkdir()
        for i in some:
            pixels = np.rint(255 * rows[i]).astype(np.uint8).reshape(_SIDE, _SIDE)
            Image.fromarray(pixels).save(folder / kind / f"{i:03}-{shapes.target_names[shapes.target[i]]}.png")
