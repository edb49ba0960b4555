"""The progress bar: on a terminal, and nowhere else."""

import io

import pytest

from diabolo.engine import progress
from helpers import Terminal

RECORD = {"loss": 1.25, "validation_loss": 2.5}


def _shown(stream, monkeypatch, enabled=True, record=RECORD):
    monkeypatch.setattr("sys.stderr", stream)
    with progress.EpochBar(4, "SomeAutoencoder training", enabled) as bar:
        for epoch in range(1, 5):
            bar(epoch, record)
            if bar._bar is not None:
                bar._bar.refresh()
    return stream.getvalue()


def test_a_terminal_sees_compiling_then_epochs_and_losses(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    text = _shown(Terminal(), monkeypatch)
    assert "SomeAutoencoder training" in text
    assert "epoch 4/4, loss 1.25, held out 2.5" in text


def test_without_held_out_rows_none_are_shown(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    text = _shown(Terminal(), monkeypatch, record={"loss": 1.25})
    assert "loss 1.25" in text
    assert "held out" not in text


def test_terms_are_shown_if_there_are_several_and_beta_while_it_rises(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    record = {"loss": 3.0, "reconstruction": 2.5, "kl": 1.0, "beta": 0.5, "learning_rate": 1e-3, "validation_kl": 9.0}
    text = _shown(Terminal(), monkeypatch, record=record)
    assert "loss 3, β 0.50, kl 1, reconstruction 2.5" in text
    assert "β" not in _shown(Terminal(), monkeypatch, record=record | {"beta": 1.0})
    assert "reconstruction" not in _shown(Terminal(), monkeypatch, record={"loss": 3.0, "reconstruction": 2.9})


def test_an_epoch_of_many_chunks_moves_on_within(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    with progress.EpochBar(4, "SomeAutoencoder training", enabled=True) as bar:
        bar.within(1.25)
        assert bar._bar.tasks[0].percentage == pytest.approx(100 * 1.25 / 4)
        bar._bar.refresh()
    assert "epoch 2/4" in stream.getvalue()


@pytest.mark.parametrize("enabled", [True, False])
def test_a_pipe_sees_nothing(enabled, monkeypatch):
    assert _shown(io.StringIO(), monkeypatch, enabled) == ""
    with progress.EpochBar(4, "SomeAutoencoder training", enabled) as bar:
        bar.within(0.5)


def test_what_is_not_wanted_is_not_shown_on_a_terminal_either(monkeypatch):
    assert _shown(Terminal(), monkeypatch, enabled=False) == ""
