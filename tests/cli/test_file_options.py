"""The command's options of text files."""

import io
import sys
import types

import pyarrow.parquet
import pytest

import diabolo

TEXT = (
    "x;y;z\n" + "".join(f"{i % 7},{i % 10}0;{i * i % 11},5;n.v.\n" for i in range(40)) + "1,5;2,5;3\n2,5;1,5;2\n" * 20
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text(TEXT)
    return tmp_path


def fit(run, *words):
    return run("fit", "rows.csv", "-m", "basic", "-o", "model", "-s", "max_epochs=1", "-s", "n_latent=1", "-f", *words)


@pytest.mark.filterwarnings("always::diabolo.errors.DataWarning")
def test_what_was_found_is_one_line(folder, run):
    status, _, err = fit(run, "--exclude", "z")
    assert status == 0
    assert err.count("\n") == 1
    assert "';'" in err
    assert "','" in err


def test_options_of_the_command_and_of_a_schema_file_say_the_same(folder, run):
    assert fit(run)[0] == 2  # n.v. is no number
    assert fit(run, "--missing", "n.v.")[0] == 0
    by_option = diabolo.load("model").schema_
    (folder / "s.toml").write_text('[file]\nmissing = ["n.v."]\n')
    assert fit(run, "--schema", "s.toml")[0] == 0
    assert diabolo.load("model").schema_ == by_option
    model = diabolo.BasicAutoencoder(n_latent=1, max_epochs=1, schema={"file": {"missing": ["n.v."]}})
    assert model.fit("rows.csv").schema_ == by_option
    assert run("reconstruct", "model", "rows.csv", "-o", "out.parquet")[0] == 0  # the model remembers
    assert pyarrow.parquet.read_table("out.parquet").num_rows == 80


@pytest.mark.parametrize(
    "words", [("--decimal", "x"), ("--delimiter", "--"), ("--encoding", "klingon"), ("--date-format", "%d")]
)
def test_an_option_that_means_nothing_is_one_line(words, folder, run):
    status, out, err = fit(run, *words)
    assert (status, out, err.count("\n")) == (2, "", 1)


def test_rows_may_come_by_standard_input(folder, run, monkeypatch):
    assert fit(run, "--missing", "n.v.")[0] == 0
    assert run("score", "model", "rows.csv", "-o", "a.csv")[0] == 0
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(TEXT.encode())))
    assert run("score", "model", "-", "-o", "b.csv")[0] == 0
    assert (folder / "a.csv").read_text() == (folder / "b.csv").read_text()


def test_an_option_may_be_given_for_one_file(folder, run):
    assert fit(run, "--missing", "n.v.")[0] == 0
    (folder / "later.csv").write_text("x^y^z\n1,5^2,5^none\n")
    assert run("score", "model", "later.csv")[0] == 2
    assert run("score", "model", "later.csv", "--missing", "none", "--delimiter", "^")[0] == 0
