"""The page of errors as tables, good rows to spoil, and what is looked for in a refusal."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

import diabolo
from diabolo import errors
from diabolo.errors import DiaboloError

PAGE = (Path(__file__).parents[1] / "docs" / "errors.md").read_text(encoding="utf-8")


def tables(page):
    """The tables of a page, in their order, each with its rows by their first cells."""
    found, inside = [], False
    for line in page.splitlines():
        is_row = line[:1] == "|"
        if is_row and not inside:
            found.append({})
        elif is_row and not set(line) <= set("|-"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            assert name not in found[-1], name
            found[-1][name] = cells
        inside = is_row
    return found


ROWS, CALLS, FILES, PARAMETERS, SETTINGS, MODELS, WRITING, REQUESTS, TRAININGS, RESULTS = tables(PAGE)

GOOD = np.random.default_rng(0).normal(size=(30, 4))
NAMES = ["a", "b", "c", "d"]
LABELS = [0, 1] * 15
MAX_ABS_SCALED = 2**60 + np.arange(120).reshape(30, 4)
SMALL = {"n_latent": 2, "max_epochs": 1, "random_state": 0}


def changed(row, column, value):
    rows = GOOD.copy()
    rows[row, column] = value
    return rows


def named(rows, names=NAMES):
    return pa.table({name: rows[:, i] for i, name in enumerate(names[: rows.shape[1]])})


def twins():
    return pa.Table.from_arrays([pa.array(GOOD[:, 0]), pa.array(GOOD[:, 1])], names=["a", "a"])


def basic(**parameters):
    return diabolo.BasicAutoencoder(**SMALL | parameters)


# -- what is looked for -----------------------------------------------------------------------------------------------


def holds(message, told):
    """Whether a message has the words; several ways of saying it are apart by a semicolon."""
    return any(words.strip().lower() in message.lower() for words in told.split(";"))


def refused(row, act):
    """That it is, as a row of the page says."""
    kind, words = row[0], row[1]
    name = re.search(r"`(\w+)`", kind).group(1)
    with pytest.raises(getattr(errors, name, None) or TypeError) as caught:
        act()
    assert isinstance(caught.value, DiaboloError) or name == "TypeError"
    assert holds(str(caught.value), words), str(caught.value)


def refused_by_the_command(words, run, folder, arguments):
    before = sorted(folder.rglob("*"))
    status, _, err = run(*arguments)
    assert status == 2, err
    assert holds(err, words), err
    assert len(err.strip().splitlines()) == 1
    assert sorted(folder.rglob("*")) == before, "a file was left behind"


WAYS_IN = {
    **{name: getattr(diabolo, name) for name in diabolo.__all__ if name.endswith("Autoencoder")},
    "AnomalyDetector": diabolo.AnomalyDetector,
    "AutoencoderGenerator": diabolo.AutoencoderGenerator,
    "AutoencoderImputer": diabolo.AutoencoderImputer,
    "AutoencoderClassifier": lambda: diabolo.AutoencoderClassifier(basic()),
}


def folder_of(name):
    def make(folder):
        (folder / name).mkdir(parents=True)
        return name.split("/")[0]

    return make


LINES = "".join(f"{i * 7 % 11},{i * i % 7}\n" for i in range(30))
