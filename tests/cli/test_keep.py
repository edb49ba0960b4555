"""`--keep` copies columns of the input, and images' results have their names."""

import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

import diabolo
from diabolo import datasets
from helpers import over


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data with an id, and a model of each kind."""
    folder = tmp_path_factory.mktemp("keep")
    for name in ("homes", "pump", "shapes"):
        datasets.write(name, folder / name)
    for name in ("homes/gaps.csv", "pump/new.csv"):
        with (folder / name).open(newline="") as stream:
            head, *rows = csv.reader(stream)
        with (folder / name.replace(".csv", "_id.csv")).open("w", newline="") as stream:
            csv.writer(stream).writerows([["id", *head], *([f"{i:04}", *row] for i, row in enumerate(rows, start=1))])
    few = {"max_epochs": 1, "hidden_layer_sizes": (4,), "random_state": 0}
    diabolo.DenoisingAutoencoder(n_latent=2, **few).fit(folder / "pump" / "normal.csv").save(folder / "plain")
    diabolo.BasicAutoencoder(n_latent=2, max_epochs=1).fit(folder / "homes" / "gaps.csv").save(folder / "mixed")
    diabolo.AnomalyDetector("single", random_state=0).fit(folder / "pump" / "normal.csv").save(folder / "watch")
    diabolo.BasicAutoencoder(n_latent=2).fit(folder / "shapes" / "truth").save(folder / "images")
    return folder


@pytest.fixture
def table(folder, run, monkeypatch):
    """Run a command and read its output as a table of texts."""
    monkeypatch.chdir(folder)

    def call(*words):
        status, out, err = run(*words)
        assert status == 0, err
        head, *rows = csv.reader(io.StringIO(out))
        return dict(zip(head, zip(*rows, strict=True), strict=True)), err

    return call


@over("command, model, data", [
    ("score", "plain", "pump/new"), ("transform", "plain", "pump/new"), ("reconstruct", "plain", "pump/new"),
    ("denoise", "plain", "pump/new"), ("detect", "watch", "pump/new"), ("score", "mixed", "homes/gaps"),
    ("transform", "mixed", "homes/gaps"), ("reconstruct", "mixed", "homes/gaps"), ("impute", "mixed", "homes/gaps"),
])  # fmt: skip
def test_kept_columns_come_first_and_nothing_else_changes(command, model, data, table):
    without, _ = table(command, model, f"{data}.csv")
    kept, err = table(command, model, f"{data}_id.csv", "--keep", "id")
    assert list(kept) == ["id", *without]
    assert kept.pop("id")[:2] == ("0001", "0002")
    assert kept == without
    assert "id" not in err.split(": ")[-1].split(", ")  # no warning that the model does not use it


def test_flagged_rows_keep_their_ids(table):
    found, err = table("detect", "watch", "pump/new_id.csv", "--only-flagged", "--keep", "id,truth")
    assert [int(one) for one in found["id"]] == [int(one) for one in found["row"]]
    assert len(found["truth"]) < 60
    assert err == ""


def test_an_imputation_moves_the_column_and_fills_it(table):
    found, _ = table("impute", "mixed", "homes/gaps.csv", "--keep", "price,kind")
    assert list(found)[:3] == ["price", "kind", "district"]
    assert all(found["price"])


def test_types_are_kept_in_parquet(folder, run, monkeypatch):
    monkeypatch.chdir(folder)
    assert run("score", "mixed", "homes/complete.csv", "--keep", "sold,rooms", "-o", "kept.parquet")[0] == 0
    kept, complete = pa.parquet.read_table("kept.parquet"), pa.csv.read_csv("homes/complete.csv")
    assert kept.column_names == ["sold", "rooms", "log_density"]
    assert kept["rooms"].to_pylist() == complete["rooms"].to_pylist()
    assert [str(cell)[:10] for cell in kept["sold"].to_pylist()] == [str(cell) for cell in complete["sold"].to_pylist()]


def test_what_cannot_be_kept_is_said_in_one_line(folder, run, monkeypatch):
    monkeypatch.chdir(folder)
    for words in (
        ("score", "plain", "pump/new.csv", "--keep", "nothing"),
        ("reconstruct", "plain", "pump/new.csv", "--keep", "speed"),
        ("score", "images", "shapes/noisy", "--keep", "id"),
        ("score", "plain", "pump/new.csv", "--keep", "id", "--engine", "ray", "-o", "out"),
    ):
        status, out, err = run(*words)
        assert (status, out) == (2, "")
        assert words[4] in err or "--keep" in err


def test_images_are_named_beside_their_results(table, folder, run):
    for command in ("score", "transform"):
        found, _ = table(command, "images", "shapes/noisy")
        assert next(iter(found)) == "file"
        assert found["file"][:2] == ("240-disc.png", "241-ring.png")
    assert run("transform", "images", "shapes/noisy", "-o", "codes.npy")[0] == 0
    assert np.load("codes.npy").shape == (60, 2)
