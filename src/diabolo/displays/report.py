"""The report as a value: the page, what it found, and a short form that a notebook shows."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from html import escape
from typing import TYPE_CHECKING, NamedTuple, Self, TypeAlias

import numpy as np

from ..data import writers
from ..report import classifiers, detectors, diagnostics, generators, imputers, page, series
from ..report.classifiers import ClassifierData
from ..report.collect import ReportData
from ..report.detectors import DetectorData
from ..report.diagnostics import Finding
from ..report.generators import GeneratorData
from ..report.imputers import ImputerData
from ..report.series import SeriesData
from . import pictures
from .anomaly import AnomalyDisplay
from .latent_map import LatentMapDisplay
from .learning_curve import LearningCurveDisplay
from .reconstruction import ReconstructionDisplay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Report"]

ReportedData: TypeAlias = ReportData | DetectorData | ImputerData | GeneratorData | ClassifierData | SeriesData
"""The numbers of a report of any kind."""

_HEIGHT = 640
"""Of the frame in a notebook, in pixels; longer contents scroll."""
_DPI = 80
_STYLE = """
:root { color-scheme: light }
body { margin: 12px; font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff }
h1 { font-size: 18px; margin: 0 0 8px } ul { padding-left: 1.2em; margin: 8px 0 } .serious b { color: #b00020 }
dl { display: flex; flex-wrap: wrap; gap: 8px; margin: 0 } dl div { border: 1px solid #ddd; border-radius: 6px;
padding: 4px 10px } dd { margin: 0; font-weight: 600; font-size: 16px } dt { color: #555; font-size: 12px }
.pictures { display: flex; flex-wrap: wrap; gap: 8px } img { max-width: 100% }
"""


class Report(str):
    """The report of a fitted estimator: the text of an HTML page, which a notebook shows in a short form.

    The value is the page, two to three megabytes that need no network. In a notebook it shows the figures of merit, the
    findings and pictures, in an isolated frame.

    Parameters
    ----------
    page : str
        The page.

    Attributes
    ----------
    findings : tuple of Finding
        The problems found, each with its title, its evidence and the action to take; serious ones first.
    data : ReportData, DetectorData, ImputerData, GeneratorData, ClassifierData or SeriesData
        The numbers that the page shows.
    """

    findings: tuple[Finding, ...]
    data: ReportedData

    @classmethod
    def of(cls, data: ReportedData, title: str = "", path: str | os.PathLike[str] | None = None) -> Self:
        """Return the report with these numbers, and write it to a file if there is a path."""
        kind = _KINDS[type(data)]
        report = cls(kind.render(data, title))
        report.data, report.findings = data, tuple(kind.diagnose(data))
        if path is not None:
            report.save(path)
        return report

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file, and replace an older page.

        Parameters
        ----------
        path : path
            The file to write.

        Raises
        ------
        InvalidData
            If the folder does not exist, or another kind of file exists there.
        """
        writers.write_page(path, str(self))

    def __repr__(self) -> str:
        n = len(self.findings)
        size = f"{len(self) / 1e6:.1f} MB"
        return f"<Report of {self.data.name}: {n} finding{'s' * (n != 1)}, {size}; save it with .save(path)>"

    def _repr_html_(self) -> str:
        pictures = "".join(
            f'<img src="{_drawn(draw, *size)}" alt="{name}">'
            for name, draw, size in _KINDS[type(self.data)].pictures(self.data)
        )
        found = "".join(
            f'<li class="{"serious" if one.serious else ""}"><b>{escape(one.title)}.</b> {escape(one.evidence)} '
            f"<i>{escape(one.action)}</i></li>"
            for one in self.findings
        )
        problems = f"<ul>{found}</ul>" if found else "<p>No problems found.</p>"
        short = (
            f"<!doctype html><meta charset='utf-8'><style>{_STYLE}</style><h1>{escape(self.data.name)}</h1>"
            f"<dl>{_KINDS[type(self.data)].tiles(self.data)}</dl>{problems}"
            f"<div class='pictures'>{pictures}</div>"
            "<p>The whole report, with all charts and tables: <code>report.save('report.html')</code></p>"
        )
        return (
            f'<iframe srcdoc="{escape(short)}" sandbox="" title="report" '
            f'style="width:100%;height:{_HEIGHT}px;border:1px solid #ccc"></iframe>'
        )


Picture: TypeAlias = tuple[str, Callable[["Axes"], object], tuple[float, float]]
"""The name of a picture, the function that draws it, and its size in inches."""


def _of_autoencoder(data: ReportData) -> Iterator[Picture]:
    if loss := data.curve("loss"):
        held_out = data.curve("validation_loss")
        curve = LearningCurveDisplay(
            training=np.asarray(loss), validation=np.asarray(held_out) if held_out else None, best_epoch=data.best_epoch
        )
        yield "learning curve", curve.plot, (5.2, 3.4)
    if (results := data.results) is None:
        return
    yield "latent map", LatentMapDisplay.from_results(results).plot, (5.8, 3.4)
    rows = ReconstructionDisplay.from_results(
        results, data.scaler, data.column_of_feature, has_names=data.has_names, image_shape=data.image
    )
    yield "reconstructions", rows.plot, (8, 2.2) if data.image is not None else (5.8, 4.2)


def _of_detector(data: DetectorData) -> Iterator[Picture]:
    if data.scores is not None:
        shown = AnomalyDisplay(scores=data.scores, threshold=data.threshold, false_alarm_rate=data.false_alarm_rate)
        yield "anomaly scores", shown.plot, (8, 3.8)


def _of_imputer(data: ImputerData) -> Iterator[Picture]:
    if data.columns:
        yield "errors by column", partial(pictures.draw_explained, data), (7, 1.2 + 0.28 * min(len(data.columns), 20))


def _of_generator(data: GeneratorData) -> Iterator[Picture]:
    if data.columns:
        yield (
            "distances by column",
            partial(pictures.draw_distances, data),
            (7, 1.2 + 0.28 * min(len(data.columns), 20)),
        )


def _of_classifier(data: ClassifierData) -> Iterator[Picture]:
    if data.results is not None:
        yield "confusion", partial(pictures.draw_confusion, data.results), (5.2, 4.4)
        yield "calibration", partial(pictures.draw_calibration, data.results), (4.4, 4.4)


def _of_series(data: SeriesData) -> Iterator[Picture]:
    if data.scores is not None:
        yield "series", partial(pictures.draw_series, data), (9, 2.6)
        yield "anomaly scores", partial(pictures.draw_scores, data), (9, 2.4)


class _Kind(NamedTuple):
    """How the numbers of one kind of report are shown."""

    render: Callable[..., str]
    diagnose: Callable[..., Iterable[Finding]]
    tiles: Callable[..., str]
    pictures: Callable[..., Iterator[Picture]]


_KINDS: dict[type, _Kind] = {
    ReportData: _Kind(page.render, diagnostics.diagnose, page.tiles, _of_autoencoder),
    DetectorData: _Kind(detectors.render, detectors.diagnose, detectors.tiles, _of_detector),
    ImputerData: _Kind(imputers.render, imputers.diagnose, imputers.tiles, _of_imputer),
    GeneratorData: _Kind(generators.render, generators.diagnose, generators.tiles, _of_generator),
    ClassifierData: _Kind(classifiers.render, classifiers.diagnose, classifiers.tiles, _of_classifier),
    SeriesData: _Kind(series.render, series.diagnose, series.tiles, _of_series),
}


def _drawn(draw: Callable[[Axes], object], width: float, height: float) -> str:
    """Draw a picture, without pyplot's state, as a PNG data URI."""
    from matplotlib.figure import Figure

    figure, file = Figure((width, height), dpi=_DPI, layout="constrained"), io.BytesIO()
    draw(figure.subplots())
    figure.savefig(file, format="png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
