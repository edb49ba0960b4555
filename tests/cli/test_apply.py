"""The commands that map rows to rows: where they write, and what `--force` replaces."""

import contextlib
import inspect
import os

import numpy as np
import pytest
from PIL import Image

import diabolo
from diabolo.cli import apply
from diabolo.data import sql, writers

ROWS = np.random.default_rng(0).normal(size=(40, 4))
HEAD = "a,b,c,d"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with DATA, a saved model RUN and an older output, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    np.savetxt("data.csv", ROWS, delimiter=",", header=HEAD, comments="")
    diabolo.VariationalAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit("data.csv").save("run")
    (tmp_path / "old.csv").write_text("of yesterday")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_command_with_an_output_has_the_option():
    for name in apply.__all__:
        assert "force" in inspect.signature(getattr(apply, name)).parameters, name


@pytest.mark.parametrize(
    "words",
    ["transform run data.csv", "reconstruct run data.csv", "impute run data.csv", "score run data.csv", "sample run"],
)
def test_force_replaces_an_existing_file_and_nothing_else_does(words, folder, run):
    before = contents(folder)
    assert run(*words.split(), "-o", "old.csv")[0] == 2
    assert contents(folder) == before
    assert run(*words.split(), "-o", "new.csv") == (0, "", "")
    assert run(*words.split(), "-o", "old.csv", "-f") == (0, "", "")
    assert (folder / "old.csv").read_bytes() == (folder / "new.csv").read_bytes()
    assert run(*words.split(), "-o", "fresh.csv", "--force") == (0, "", "")  # nothing to replace
    assert set(contents(folder)) == {*before, folder / "new.csv", folder / "fresh.csv"}


def test_force_never_replaces_a_file_that_data_is_read_from(folder, run):
    (folder / "many").mkdir()
    for name in ("one.csv", "two.csv"):
        (folder / "many" / name).write_bytes((folder / "data.csv").read_bytes())
    (folder / "link.csv").symlink_to("data.csv")
    os.link("data.csv", "twin.csv")
    before = contents(folder)
    for data, output in (
        ("data.csv", "data.csv"),
        ("data.csv", "./many/../data.csv"),
        ("data.csv", "link.csv"),
        ("data.csv", "twin.csv"),
        ("link.csv", "data.csv"),
        ("many", "many/two.csv"),
        ("many/*.csv", "many/one.csv"),
        ("SELECT * FROM 'data.csv'", "data.csv"),
        ("SELECT * FROM 'many/*.csv'", "many/two.csv"),
        ("SELECT * FROM read_csv(['many/one.csv', 'many/two.csv'])", "many/two.csv"),
        ('SELECT * FROM "data.csv"', "data.csv"),
    ):
        status, out, err = run("score", "run", data, "-o", output, "--force")
        assert (status, out, err.count("\n")) == (2, "", 1), (data, output)
        assert output in err
    assert contents(folder) == before
    assert (folder / "link.csv").is_symlink()


def test_force_replaces_no_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pictures", "album"):
        (tmp_path / name).mkdir()
        for i, row in enumerate(np.random.default_rng(0).integers(0, 255, (12, 4, 4), np.uint8)):
            Image.fromarray(row).save(f"{name}/{i:02}.png")
    diabolo.BasicAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit("pictures").save("run")
    before = contents(tmp_path)
    assert run("reconstruct", "run", "pictures", "-o", "album", "--force")[0] == 2
    assert run("transform", "run", "pictures", "-o", "album", "--force")[0] == 2
    assert contents(tmp_path) == before


def test_the_older_file_stays_until_the_new_one_is_complete(folder):
    before = contents(folder)
    table = writers.Table(ROWS, tuple("abcd"))
    with contextlib.suppress(KeyboardInterrupt), writers.open_sink("old.csv", force=True) as sink:
        sink.add(table)
        assert (folder / "old.csv").read_text() == "of yesterday"
        raise KeyboardInterrupt
    assert contents(folder) == before


def test_the_files_that_a_query_names(folder):
    def found(query):
        return {path.name for path in sql.find_files(query)}

    assert found("SELECT * FROM 'data.csv'") == {"data.csv"}
    assert found('from "old.csv" select 1') == {"old.csv"}
    assert found("SELECT * FROM read_csv(['data.csv','old.csv'])") == {"data.csv", "old.csv"}
    assert found("SELECT * FROM '*.csv' WHERE a = 'no\0name'") == {"data.csv", "old.csv"}
    assert found("ATTACH 'shop.db' AS shop; SELECT * FROM shop.orders") == set()
