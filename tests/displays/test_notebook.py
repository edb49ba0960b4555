"""What a notebook shows: the report in a frame, the network as a table, a progress bar."""

import json
import pickle
import re
from html import unescape
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShell

import diabolo
from diabolo.displays.network import NetworkSummary
from diabolo.engine.progress import Bar
from helpers import over, train_briefly
from reported_models import X, Y, fitted, rows_of

mpl.use("Agg")
MOST = 400_000
"""Characters that an output may add to a notebook."""


@pytest.fixture
def shell(monkeypatch):
    """IPython's shell, whose outputs are kept."""
    monkeypatch.setattr(HistoryManager, "enabled", False)
    shell = InteractiveShell.instance()
    shell.display_pub = CapturingDisplayPublisher()
    yield shell
    InteractiveShell.clear_instance()


def test_a_report_is_a_page_that_shows_itself_in_short(shell, tmp_path):
    report = fitted("variational").report(X, Y, image_shape=(8, 8))
    shown, _ = shell.display_formatter.format(report)
    assert len(shown["text/plain"]) < 200
    assert len(shown["text/html"]) < MOST < len(report)
    frame = re.fullmatch(r'<iframe srcdoc="([^"]*)" sandbox="" [^>]*></iframe>', shown["text/html"]).group(1)
    short = unescape(frame)
    assert short.count("data:image/png;base64,") == 3
    assert "<script" not in short
    for finding in report.findings:
        assert finding.title in short
    report.save(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == report
    again = pickle.loads(pickle.dumps(report))
    assert (again, again.findings) == (report, report.findings)


def test_reports_of_tables_and_without_rows_show_themselves():
    for report in (fitted("table").report(rows_of("table")), fitted("table").report()):
        assert len(report._repr_html_()) < MOST


@over("name", ["denoising", "u-shaped"])
def test_a_summary_counts_every_number(name):
    import jax

    model = fitted(name)
    summary = model.summary()
    n = sum(array.size for array in jax.tree.leaves(model.predictor_.model.weights))
    assert summary.n_trained + summary.n_fixed == n
    assert f"row {model.input_.width:,} →" in str(summary)
    assert all(one.path in str(summary) for one in summary.layers)
    assert summary._repr_html_().count("<tr>") == 1 + len(summary.layers)


def test_a_classifier_has_a_summary_too():
    sae = diabolo.StackedAutoencoder(hidden_layer_sizes=(8,), n_latent=4, max_epochs=1)
    model = diabolo.AutoencoderClassifier(sae, max_epochs=1, random_state=0).fit(X[:60], Y[:60])
    assert dict(NetworkSummary.from_estimator(model).sizes)["code"] == 4


def test_a_notebook_sees_a_progress_bar_that_is_removed_at_the_end(shell):
    with Bar("rows", 4, True) as bar:
        bar.show(1)
    assert shell.display_pub.outputs == []  # no kernel, so no notebook
    shell.kernel = object()
    with Bar("rows", 4, True, "compiling") as bar:
        bar.show(1, "a < b")
        bar.show(4, "last")
    outputs = [output["data"].get("text/html", "") for output in shell.display_pub.outputs]
    assert "compiling" in outputs[1]
    assert '<progress value="1" max="4">' in outputs[2]
    assert "a &lt; b" in outputs[2]
    assert "last" in outputs[3]
    assert outputs[-1] == ""
    with Bar("rows", 4, False):
        pass
    assert len(shell.display_pub.outputs) == len(outputs)


@pytest.mark.slow
def test_the_notebook_of_the_examples_runs(shell, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    train_briefly(monkeypatch)
    notebook = json.loads((Path(__file__).parents[2] / "examples" / "tour.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] for cell in cells)
    assert len(cells) > 5
    for cell in cells:
        done = shell.run_cell("".join(cell["source"]))
        done.raise_error()
    assert np.isfinite(shell.user_ns["log_p"]).all()
