"""Laws of fits: the same rows give the same model, whatever came before, and in other words the same answers."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st
from sklearn.base import clone

from diabolo.errors import DiaboloError
from diabolo.estimators.input import InputSpec

from .law import Law, near, same
from .of_input import OF_ARRAYS, OF_TABLES
from .of_rows import seeds
from .subjects import Answers, Subject, asked, drawn_from, numbers, quietly

__all__ = ["LAWS"]


def _said(subject: Subject, model: Any, rows: Any) -> Answers:
    """Return everything that an estimator says: of rows, or by drawing rows."""
    return drawn_from(model) if subject.name.startswith("generator") else asked(model, rows)


def _again(subject: Subject, case: Any) -> None:
    seed, other = case
    rows = subject.draw(seed)
    first = subject.fit(rows)
    second = subject.fit(rows, clone(first) if other == "a clone" else first)
    if other == "after other rows":
        subject.fit(subject.draw(seed + 1), second)
        subject.fit(rows, second)
    same(_said(subject, second, rows), _said(subject, subject.fit(rows), rows))


# -- refits -----------------------------------------------------------------------------------------------------------


def _too_few(subject: Subject, rows: Any) -> None:
    subject.fit(rows[:1], subject.model)


def _infinite(subject: Subject, rows: Any) -> None:
    if isinstance(rows, pa.Table):
        place = rows.column_names.index("x0" if "x0" in rows.column_names else "length")
        rows = rows.set_column(place, rows.column_names[place], pa.array([np.inf] * len(rows)))
    else:
        rows = np.where(np.arange(len(rows))[:, None] == 3, np.inf, rows)
    subject.fit(rows, subject.model)


def _nothing(subject: Subject, rows: Any) -> None:
    subject.fit([], subject.model)


def _words(subject: Subject, rows: Any) -> None:
    subject.fit(np.full((len(rows), 3), "word"), subject.model)


def _interrupted(subject: Subject, rows: Any) -> None:
    """Stop at some call of the engine, as Ctrl-C does."""
    from unittest import mock

    from diabolo.engine import compiled, trainer, vmap_trainer

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with (
        mock.patch.object(trainer, "run_epochs", stop),
        mock.patch.object(vmap_trainer, "run_epochs", stop, create=True),
        mock.patch.object(compiled, "run_epochs", stop),
    ):
        subject.fit(rows, subject.model)


def _bad_parameter(subject: Subject, rows: Any) -> None:
    name = "validation_fraction" if "validation_fraction" in subject.model.get_params() else "scaling"
    name = name if name in subject.model.get_params() else "schema"
    before = subject.model.get_params()[name]
    subject.model.set_params(**{name: "nothing that is known"})
    try:
        subject.fit(rows, subject.model)
    finally:
        subject.model.set_params(**{name: before})


_FAILING: dict[str, Callable[[Subject, Any], None]] = {
    "one row": _too_few,
    "an infinite cell": _infinite,
    "no rows": _nothing,
    "words": _words,
    "interrupted": _interrupted,
    "a wrong parameter": _bad_parameter,
}


def _after_failures(subject: Subject, case: Any) -> None:
    seed, failures = case
    rows = subject.rows
    before = subject.once("of the fit", lambda: _said(subject, subject.model, rows))
    learned = dict(vars(subject.model))
    for name in failures:
        try:
            _FAILING[name](subject, subject.draw(seed))
        except (DiaboloError, ValueError, TypeError, KeyboardInterrupt):
            pass
        else:
            assert name == "interrupted", f"{name} was fitted"  # a closed form runs no epochs
            subject.fit(rows, subject.model)
            learned = dict(vars(subject.model))
        assert vars(subject.model).keys() == learned.keys()
        changed = [key for key, value in vars(subject.model).items() if value is not learned[key]]
        assert not changed, f"{name} changed {changed}"
        same(_said(subject, subject.model, rows), before)


# -- other words ------------------------------------------------------------------------------------------------------


def _contained(subject: Subject, case: Any) -> None:
    seed, name = case
    rows, form = subject.draw(seed), (OF_TABLES if subject.is_table else OF_ARRAYS)[name]
    same(_said(subject, subject.fit(form(rows, subject.folder)), rows), _said(subject, subject.fit(rows), rows))


_EXPONENTS = st.lists(st.integers(-6, 6), min_size=6, max_size=6)
_SHIFTS = st.lists(st.sampled_from([0.0, 0.0, 1.0, -100.0]), min_size=6, max_size=6)


def _few(subject: Subject, case: Any) -> None:
    seed, n = case
    rows = subject.draw(seed, n)
    try:
        model = subject.fit(rows, seed=seed)
    except DiaboloError:
        return
    for name, cells in _said(subject, model, rows).items():
        # The interval of a cell whose column has one known value is infinite.
        is_wrong = np.isnan if name.startswith(("low", "high")) else lambda cells: ~np.isfinite(cells)
        assert cells.dtype.kind != "f" or not is_wrong(cells).any(), name


def _weighted(subject: Subject, case: Any) -> None:
    """Rows of weight 0 are as if not there, and a power of two is another unit of the weights."""
    seed, exponent, n_more, is_labelled = case
    rng = np.random.default_rng(seed)
    rows, more = subject.draw(seed), subject.draw(seed + 1, n_more)
    weights, y = rng.integers(1, 4, len(rows)).astype(float), subject.labels(len(rows), seed)
    order = np.sort(rng.permutation(len(rows) + n_more)[:n_more]) - np.arange(n_more)
    if isinstance(rows, pa.Table):
        places = np.insert(np.arange(len(rows)), order, len(rows) + np.arange(n_more))
        mingled = pa.concat_tables([rows, more]).take(pa.array(places))
    else:
        mingled = np.insert(rows, order, more, axis=0)
    with_zeros = 2.0**exponent * np.insert(weights, order, 0)
    given = pd.Series(with_zeros, index=rng.permutation(len(with_zeros))) if is_labelled else with_zeros
    with quietly():
        one = subject.make().fit(rows, *y, sample_weight=weights)
        other = subject.make().fit(mingled, *(np.insert(some, order, some[0]) for some in y), sample_weight=given)
    same(_said(subject, one, rows), _said(subject, other, rows))


def _other_units(subject: Subject, case: Any) -> None:
    seed, exponents, shifts = case
    rows = subject.draw(seed)
    spread = np.nanstd(rows, axis=0)
    unit = 10.0 ** np.array(exponents)
    other_rows = (rows + np.array(shifts) * spread) * unit
    one, other = subject.fit(rows), subject.fit(other_rows)
    expected, found = _said(subject, one, rows), _said(subject, other, other_rows)
    in_units: Answers = {}
    for name, cells in found.items():
        question, _, column = name.partition(" ")
        if question in ("reconstruct", "impute", "expected", "low", "high", "sample") or (
            question == "transform" and subject.name.startswith("imputer")
        ):
            in_units[name] = cells / unit[int(column)] - shifts[int(column)] * spread[int(column)]
        elif question in ("score_samples", "elbo") and not subject.name.startswith("detector"):
            in_units[name] = cells + (np.log(unit) * ~np.isnan(rows)).sum(axis=1)
        else:
            in_units[name] = cells
    near({name: expected[name] for name in in_units}, in_units, subject, 1e-2)


def _by_kinds(rows: Any) -> dict[str, Any]:
    """Return the columns that a fit would use, by name, with their kinds."""
    schema = InputSpec.learn("laws", rows, "auto").input.schema
    return {} if schema is None else {column.name: (column.kind, column.categories) for column in schema.columns}


_COLUMNS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "numbers": lambda rng, n: rng.normal(size=n),
    "sorted numbers": lambda rng, n: np.sort(rng.normal(size=n)),
    "ids": lambda rng, n: np.arange(n) + 1000,
    "steps of ten": lambda rng, n: np.arange(n) * 10,
    "even times": lambda rng, n: np.arange(n) * 0.25,
    "counts": lambda rng, n: rng.poisson(3.0, n),
    "years, sorted": lambda rng, n: np.sort(rng.integers(1950, 2020, n)),
    "days": lambda rng, n: np.datetime64("2024-01-01") + np.arange(n),
    "weekdays": lambda rng, n: np.busday_offset("2024-01-01", np.arange(n), roll="forward"),
    "birthdays": lambda rng, n: np.datetime64("1950-01-01") + rng.integers(0, 20_000, n),
    "birthdays, sorted": lambda rng, n: np.datetime64("1950-01-01") + np.sort(rng.integers(0, 20_000, n)),
    "moments": lambda rng, n: np.datetime64("2024-01-01T00:00:00") + np.cumsum(rng.integers(1, 9999, n)),
    "epochs": lambda rng, n: 1_700_000_000 + np.cumsum(rng.integers(1, 99, n)),
    "texts": lambda rng, n: rng.choice(["a", "b", "c"], n),
    "tags": lambda rng, n: np.array([f"tag {i}" for i in range(n)]),
    "booleans": lambda rng, n: rng.random(n) < 0.5,
}
_NAMES = ("value", "time", "id", "day", "when")


def _any_order(subject: Subject, case: Any) -> None:
    seed, chosen, n = case
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"plain": rng.normal(size=n)}
    for i, (name, kind) in enumerate(chosen):
        columns[f"{name}{i}" if name != "id" else f"n{i}_id"] = _COLUMNS[kind](rng, n)
    rows = pa.table(columns)
    expected = _by_kinds(rows)
    found = _by_kinds(rows.take(pa.array(rng.permutation(n))))
    assert found == expected, f"{expected} in order, {found} in another"
    shuffled = _by_kinds(rows.select([rows.column_names[i] for i in rng.permutation(rows.num_columns)]))
    assert shuffled == expected, f"{expected}, and by columns in another order {shuffled}"


def _closed(subject: Subject, case: Any) -> None:
    """A linear autoencoder without held-out rows is PCA: it has no order, no weights and no names."""
    seed, change = case
    rng, rows = np.random.default_rng(seed), numbers(seed)
    fit = lambda some: subject.fit(some, subject.model.__class__(n_latent=2, validation_fraction=None, random_state=0))  # noqa: E731
    expected = asked(fit(rows), rows)
    if change == "rows in another order":
        found = asked(fit(rows[rng.permutation(len(rows))]), rows)
    elif change == "each row twice":
        found = asked(fit(np.repeat(rows, 2, axis=0)), rows)
    elif change == "columns in another order":
        order = rng.permutation(rows.shape[1])
        model = fit(rows[:, order])
        found = {
            f"reconstruct {i}": cells for i, cells in zip(order, model.reconstruct(rows[:, order]).T, strict=True)
        } | {"score_samples": model.score_samples(rows[:, order])}
    else:
        value = float(rng.choice([0.0, 1.0, -5.0, 1e6]))
        wide = np.c_[rows, np.full(len(rows), value)]
        model = fit(wide)
        rebuilt = model.reconstruct(wide)
        np.testing.assert_allclose(rebuilt[:, -1], value, rtol=1e-6, atol=1e-6)
        assert np.isfinite(model.score_samples(wide)).all()
        found = {f"reconstruct {i}": cells for i, cells in enumerate(rebuilt[:, :-1].T)}
    compared = {name for name in found if name.startswith(("reconstruct", "score"))}
    near({name: expected[name] for name in compared}, {name: found[name] for name in compared}, subject, 1e-3)


def _other_names(subject: Subject, case: Any) -> None:
    seed, names = case
    rows = subject.draw(seed)
    renamed = rows.rename_columns(names[: rows.num_columns])
    one, other = subject.fit(rows), subject.fit(renamed)
    expected, found = _said(subject, one, rows), _said(subject, other, renamed)
    assert len(expected) == len(found)
    same(
        {str(i): cells for i, cells in enumerate(expected.values())},
        {str(i): cells for i, cells in enumerate(found.values())},
    )


_plain_names = st.lists(
    st.text(st.characters(categories=["Lu", "Ll", "Lo"], exclude_characters="\ud800"), min_size=1, max_size=6).filter(
        lambda name: not any(word in name.lower() for word in ("t", "id", "no", "nr", "key", "day", "year"))
    ),
    min_size=7,
    max_size=7,
    unique=True,
)
_SCALED = ("basic", "denoising", "contractive", "variational", "variational, missing cells", "imputer", "detector")


LAWS = (
    Law(
        "a second fit",
        "To the bit: rows, parameters and seed decide a fit; nothing of a former fit stays.",
        "fits",
        lambda subject: st.tuples(st.integers(0, 999), st.sampled_from(["the same", "a clone", "after other rows"])),
        _again,
        few=2,
        many=12,
    ),
    Law(
        "a fit to few rows",
        "Finite numbers (intervals may be infinite), or one of our errors, from 2 to 12 rows.",
        "fits",
        lambda subject: st.tuples(st.integers(0, 999), st.integers(2, 12)),
        _few,
        few=3,
        many=20,
        is_slow=True,
    ),
    Law(
        "weights of rows",
        "To the bit: rows of weight 0 are as if they were not there; all weights × 2⁻¹⁰⁰⁰ … 2¹⁰⁰⁰ are the same "
        "weights, in a pandas Series as in an array.",
        "fits",
        lambda subject: st.tuples(st.integers(0, 999), st.integers(-1000, 1000), st.integers(0, 20), st.booleans()),
        _weighted,
        # A classifier's autoencoder learns from rows without a label, too.
        lambda subject: not subject.labels(2) and "sample_weight" in signature(subject.make().fit).parameters,
        few=2,
        many=12,
        is_slow=True,
    ),
    Law(
        "a fit that fails",
        "To the bit, and the same objects: rows that are refused, wrong parameters and interruptions, in any sequence, "
        "leave the former fit whole.",
        "fits",
        lambda subject: st.tuples(
            st.integers(0, 999), st.lists(st.sampled_from(list(_FAILING)), min_size=1, max_size=4)
        ),
        _after_failures,
        few=3,
        many=60,
    ),
    Law(
        "containers of the fit",
        "To the bit: a model does not depend on the container of its training rows.",
        "fits",
        lambda subject: st.tuples(
            st.integers(0, 999),
            st.sampled_from(
                [
                    name
                    for name in (OF_TABLES if subject.is_table else OF_ARRAYS)
                    if name not in ("memory map", "sparse", "chunks", "a data set")
                ]
            ),
        ),
        _contained,
        lambda subject: not subject.name.startswith("classifier"),
        few=2,
        many=12,
    ),
    Law(
        "other units and origins",
        "To 1 % of the spread: columns × 10⁻⁶ … 10⁶, moved by up to 100 spreads, are the same columns; a density "
        "changes by the logarithm of the unit. The trainings are short; rounding errors grow with their steps.",
        "fits",
        lambda subject: st.tuples(st.integers(0, 999), _EXPONENTS, _SHIFTS),
        _other_units,
        lambda subject: subject.name in _SCALED,
        few=2,
        many=12,
    ),
    Law(
        "kinds of columns in any order",
        "Exactly: which columns are used, and as what, does not depend on the order of rows and columns.",
        "fits",
        lambda subject: st.tuples(
            seeds,
            st.lists(st.tuples(st.sampled_from(_NAMES), st.sampled_from(list(_COLUMNS))), min_size=1, max_size=4),
            st.integers(20, 60),
        ),
        _any_order,
        lambda subject: subject.name == "basic, of a table",
        few=60,
        many=5000,
    ),
    Law(
        "order, repetition and constants",
        "To 1e-3 of the spread: the closed form (PCA) does not depend on the order of rows and columns, on each row "
        "being there twice, or on one more constant column, which is given back as it is.",
        "fits",
        lambda subject: st.tuples(
            st.integers(0, 999),
            st.sampled_from(
                ["rows in another order", "each row twice", "columns in another order", "a constant column"]
            ),
        ),
        _closed,
        lambda subject: subject.name == "basic",
        few=8,
        many=200,
    ),
    Law(
        "other names",
        "To the bit: names of columns are names only, unless they say that a column is an id or a time.",
        "fits",
        lambda subject: st.tuples(st.integers(0, 999), _plain_names),
        _other_names,
        lambda subject: subject.is_table and not getattr(subject.make(), "condition", None),  # which is a name
        few=2,
        many=12,
    ),
)
