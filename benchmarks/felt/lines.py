"""The lines of the table: a figure of a job, what it must be, and the same figure of the neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .child import TASKS

__all__ = ["LINES", "Figure", "Line", "jobs"]

EMPTY, WARM = "empty", "warm"
"""The cache of compiled programs: a folder of its own that is empty, or what an earlier run of the job left there."""


@dataclass(frozen=True)
class Figure:
    """A figure of a job: what it measured in a stage, with an empty or a warm cache of programs."""

    job: tuple[str, ...]
    stage: str
    cache: str = WARM

    def __str__(self) -> str:
        return f"{' '.join(self.job)} | {self.stage} | {self.cache}"


@dataclass(frozen=True)
class Line:
    """A line of the table."""

    what: str
    ours: Figure
    must: float
    others: tuple[tuple[str, Figure], ...] = ()
    unit: str = "s"


def _lines() -> Iterator[Line]:
    imported = "imports"
    three = ("sklearn.neural_network", "sklearn.impute", "sklearn.ensemble")
    yield Line(
        "import of an estimator",
        Figure(("imports", "diabolo", "BasicAutoencoder"), imported),
        1.3,
        (
            ("three scikit-learn modules", Figure(("imports", *three), imported)),
            ("PyOD", Figure(("imports", "pyod.models.auto_encoder"), imported)),
        ),
    )
    mlp, pyod, vae = (("sklearn", "mlp"), ("pyod", "AutoEncoder"), ("pyod", "VAE"))
    near = {
        "variational": (("MLPRegressor", mlp), ("PyOD VAE", vae)),
        "detector": (("PyOD AutoEncoder", pyod),),
        "imputer": (("IterativeImputer", ("sklearn", "imputer")),),
        "classifier": (("MLPClassifier", ("sklearn", "classifier")),),
    }
    for title, stage, cache, must in (
        ("first fit and use, new process, empty cache", "first", EMPTY, 2.5),
        ("first fit and use, new process, programs at hand", "first", WARM, 1.6),
        ("fit again", "again", WARM, 0.3),
    ):
        for task in TASKS:
            others = near.get(task, (("MLPRegressor", mlp),) if task != "generator" else ())
            yield Line(
                f"{title}: {task}",
                Figure(("ours", task), stage, cache),
                must,
                tuple((name, Figure(job, stage)) for name, job in others),
            )
    rates = (("MLPRegressor, 20 rates", Figure(("search-sklearn",), "search")),)
    for manner, of in (("GridSearchCV", ""), ("BatchedSearchCV", "-batched")):
        yield Line(f"{manner}, 20 widths × 3 folds", Figure(("search", f"widths{of}"), "search", EMPTY), 5.0, rates)
        yield Line(
            f"{manner}, 6 settings × 3, default steps", Figure(("search", f"settings{of}"), "search", EMPTY), 6.0
        )
    for cache, at in ((EMPTY, "empty cache"), (WARM, "programs at hand")):
        one, two = (Figure(("search", "widths", n_jobs), "search", cache) for n_jobs in ("1", "2"))
        yield Line(f"GridSearchCV, 20 widths, n_jobs=2, {at}", two, float("nan"), (("n_jobs=1", one),))
    wide = ("6000", "300")
    yield Line(
        "detector, 6,000 × 300",
        Figure(("ours", "detector", *wide), "again"),
        2.0,
        (("PyOD AutoEncoder", Figure(("pyod", "AutoEncoder", *wide), "again")),),
    )
    yield Line(
        "imputer, 60 rows, fit again",
        Figure(("ours", "imputer", "60"), "again"),
        0.5,
        (("IterativeImputer", Figure(("sklearn", "imputer"), "again")),),
    )
    yield Line("memory for each new shape", Figure(("shapes",), "shapes"), 1.0, unit="MB")
    yield Line("diabolo score, 400 rows", Figure(("score",), "score"), 1.5)


LINES: dict[str, Line] = {line.what: line for line in _lines()}


def jobs(lines: list[Line]) -> list[tuple[tuple[str, ...], bool]]:
    """The jobs that lines need, each once, with whether some figure of it wants an empty cache."""
    figures = [figure for line in lines for figure in (line.ours, *(one for _, one in line.others))]
    return [
        (job, any(figure.job == job and figure.cache == EMPTY for figure in figures))
        for job in dict.fromkeys(figure.job for figure in figures)
    ]
