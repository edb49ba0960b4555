"""Outputs: whole or not at all, and nothing is deleted or replaced that diabolo did not write."""

import io
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import diabolo
from diabolo import outputs
from diabolo.data import writers
from diabolo.engine import checkpoints
from diabolo.errors import ArtifactError, InvalidData, InvalidParameter

ROWS = np.random.default_rng(0).normal(size=(60, 3))


@pytest.fixture(scope="module")
def model():
    return diabolo.BasicAutoencoder(n_latent=2, random_state=0).fit(ROWS)


def contents(folder):
    """All files in a folder, by their path; links as where they lead."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def save(model, path):
    model.save(path)


def export(model, path):
    diabolo.export_onnx(model, path, ROWS, force=True)


def page(model, path):
    model.report(ROWS, path=path)


def rows(model, path):
    writers.write(str(path), writers.Table(ROWS, ("a", "b", "c")))


FOLDERS = {"save": save, "export": export}
FILES = {"report": page, "rows": rows}


@pytest.mark.parametrize("path", [io.BytesIO(), 5, None])
def test_a_path_that_is_none_is_refused(model, path):
    for write in (save, export):
        with pytest.raises(InvalidParameter, match="path"):
            write(model, path)
    if path is not None:
        with pytest.raises(InvalidParameter, match="path"):
            page(model, path)


REFUSED = (ArtifactError, InvalidParameter, InvalidData)


def mixed(path):
    path.mkdir()
    (path / "thesis.txt").write_text("mine")
    (path / "model.json").write_text("{}")
    (path / "export.json").write_text('{"files": []}')


OTHERS = {
    "a folder": mixed,
    "a file": lambda path: path.write_text("mine"),
    "an empty file": lambda path: path.write_text(""),
    "a page": lambda path: path.write_text("<!doctype html><html><head><title>mine</title></head></html>"),
    "a manifest": lambda path: (path.mkdir(), (path / "model.json").write_text('{"format": "diabolo"}')),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
@pytest.mark.parametrize("linked", [False, True])
def test_what_diabolo_did_not_write_is_refused_and_stays(name, kind, linked, model, tmp_path):
    place = tmp_path / ("out.csv" if name == "rows" else "out.html" if name == "report" else "out")
    real = tmp_path / "elsewhere" if linked else place
    OTHERS[kind](real)
    if linked:
        place.symlink_to(real)
    before = contents(tmp_path)
    with pytest.raises(REFUSED):
        (FOLDERS | FILES)[name](model, place)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("linked", [False, True])
def test_what_diabolo_wrote_is_replaced_but_not_with_other_files_in_it(name, linked, model, tmp_path):
    place, real = tmp_path / "out", tmp_path / ("elsewhere" if linked else "out")
    if linked:
        place.symlink_to(real)
    for _ in range(2):
        FOLDERS[name](model, place)
    assert place.is_symlink() == linked
    assert outputs.names_in(tmp_path) == {place.name, real.name}
    (real / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(REFUSED):
        FOLDERS[name](model, place)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", FOLDERS)
def test_an_empty_folder_is_filled(name, model, tmp_path):
    (tmp_path / "out").mkdir()
    FOLDERS[name](model, tmp_path / "out")
    assert len(outputs.names_in(tmp_path / "out")) > 1


def test_an_older_page_is_replaced(model, tmp_path):
    model.report(ROWS, path=tmp_path / "page.html")
    before = (tmp_path / "page.html").read_text()
    model.report(ROWS[:40], path=tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() != before
    assert outputs.names_in(tmp_path) == {"page.html"}


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_failing_rename_loses_no_model(failing, model, tmp_path, monkeypatch):
    """The first puts the older one aside, the second puts the new one there, the third would put it back."""
    model.save(tmp_path / "run")
    before, real, calls = contents(tmp_path), Path.rename, []

    def rename(path, to):
        calls.append(path)
        if failing <= len(calls) <= 2:
            raise OSError(5, "Input/output error")
        return real(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    if failing <= 2:
        with pytest.raises(ArtifactError):
            model.save(tmp_path / "run")
        assert contents(tmp_path) == before
    else:
        model.save(tmp_path / "run")
    assert diabolo.load(tmp_path / "run").n_samples_ == 60


def test_an_older_model_that_cannot_be_put_back_is_kept(model, tmp_path, monkeypatch):
    model.save(tmp_path / "run")
    real, calls = Path.rename, []

    def rename(path, to):
        calls.append(path)
        if len(calls) > 1:
            raise OSError(5, "Input/output error")
        return real(path, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(ArtifactError):
        model.save(tmp_path / "run")
    (left,) = tmp_path.glob(f"{outputs.SCRATCH}*/old")
    assert diabolo.load(left).n_samples_ == 60


def test_what_a_killed_process_left_blocks_nothing(tmp_path, model):
    """Scratch has a name of its own each time; nothing of a fixed name is in the way."""
    for name in (".out.csv.part", ".out.part", f"{outputs.SCRATCH}0.part"):
        (tmp_path / name).mkdir()
    rows(model, tmp_path / "out.csv")
    model.save(tmp_path / "out")
    assert {"out.csv", "out"} < outputs.names_in(tmp_path)


@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("x")])
def test_a_write_that_fails_leaves_nothing(raised, tmp_path):
    for write in (outputs.write_file, outputs.write_folder):
        with pytest.raises(type(raised)), write(tmp_path / "out"):
            raise raised
        assert outputs.names_in(tmp_path) == set()


def test_something_that_appears_meanwhile_is_not_replaced(tmp_path):
    for write in (outputs.write_file, outputs.write_folder):
        with pytest.raises(outputs.NotOurs), write(tmp_path / "out"):
            (tmp_path / "out").write_text("mine")
        assert contents(tmp_path) == {"out": b"mine"}
        (tmp_path / "out").unlink()


# -- checkpoints ------------------------------------------------------------------------------------------------------


def kept(folder):
    with warnings.catch_warnings(action="ignore"):
        diabolo.BasicAutoencoder(n_latent=2, activation="tanh", max_epochs=3, random_state=0).fit(
            ROWS, checkpoint_dir=folder
        )


def test_of_a_folder_with_other_files_only_checkpoints_are_removed(tmp_path):
    folder = tmp_path / "run.partial"
    folder.mkdir()
    mine = {"thesis.txt": b"1", "a.part": b"2", "best.checkpoint": b"3", "my-model.checkpoint": b"4"}
    for name, content in mine.items():
        (folder / name).write_bytes(content)
    kept(folder)
    assert any(folder.glob("training-*.checkpoint"))
    checkpoints.remove(folder)
    assert contents(folder) == mine


def test_a_folder_of_nothing_but_checkpoints_is_removed_and_a_link_is_not_followed(tmp_path):
    folder = tmp_path / "run.partial"
    kept(folder)
    (tmp_path / "link").symlink_to(folder)
    checkpoints.remove(tmp_path / "link")
    assert any(folder.glob("*.checkpoint"))
    checkpoints.remove(folder)
    checkpoints.remove(folder)
    assert not folder.exists()


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_replaces_no_input_and_no_other_file(run, tmp_path, model):
    model.save(tmp_path / "run")
    np.save(tmp_path / "data.npy", ROWS[:5])
    (tmp_path / "linked.npy").symlink_to(tmp_path / "data.npy")
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "run.partial" / "thesis.txt").write_text("mine")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "thesis.txt").write_text("mine")
    before = contents(tmp_path)
    at = {name: str(tmp_path / name) for name in ("run", "data.npy", "linked.npy", "dir", "fresh")}
    for words in (
        ["score", at["run"], at["data.npy"], "-o", at["data.npy"]],
        ["score", at["run"], at["data.npy"], "-o", at["linked.npy"]],
        ["score", at["run"], at["linked.npy"], "-o", at["data.npy"]],
        ["report", at["run"], at["data.npy"], "-o", at["data.npy"]],
        ["export", at["run"], "--onnx", at["dir"], "-f"],
        ["fit", at["data.npy"], "-m", "basic", "-o", at["dir"], "-f"],
    ):
        assert run(*words)[0] == 2, words
        assert contents(tmp_path) == before, words
    assert run("fit", at["data.npy"], "-m", "basic", "-o", at["run"], "-f", "-q")[0] == 0
    assert contents(tmp_path / "run.partial") == {"thesis.txt": b"mine"}
    shutil.rmtree(at["run"])
    assert outputs.names_in(tmp_path) == {"data.npy", "dir", "linked.npy", "run.partial"}
