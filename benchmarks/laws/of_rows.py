"""Laws of rows: what a fitted estimator says of a row depends on this row only."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from diabolo import AnomalyDetector
from diabolo.errors import DiaboloError

from .law import ESTIMATE, FAR_ESTIMATE, Law, near, require, same
from .subjects import Answers, Subject, asked, columns_of, numbers, questions, rows_at

__all__ = ["LAWS", "seeds"]

seeds = st.integers(0, 2**32 - 1)
_FAR = st.sampled_from([0.0, 0.1, 1.0, 10.0])


def _speaks(subject: Subject) -> bool:
    return not subject.name.startswith("generator")


def _drawn(subject: Subject, seed: int, n: int, far: float) -> Any:
    return subject.spread(np.random.default_rng(seed), n, far)


def _at(found: Answers, places: Any) -> Answers:
    return {name: cells[places] for name, cells in found.items()}


def _estimate(far: float) -> float:
    return FAR_ESTIMATE if far > 1 else ESTIMATE


def _rows(most: int) -> Any:
    return lambda subject: st.tuples(seeds, st.integers(2, most), _FAR)


def _permuted(subject: Subject, case: Any) -> None:
    seed, n, far = case
    rows = _drawn(subject, seed, n, far)
    order = np.random.default_rng(seed).permutation(n)
    same(asked(subject.model, rows_at(rows, order)), _at(asked(subject.model, rows), order))


def _alone(subject: Subject, case: Any) -> None:
    seed, n, far = case
    rows = _drawn(subject, seed, n, far)
    place = seed % n
    near(
        asked(subject.model, rows_at(rows, [place])),
        _at(asked(subject.model, rows), [place]),
        subject,
        estimate=_estimate(far),
    )


def _in_pieces(subject: Subject, case: Any) -> None:
    seed, n, far = case
    rows, cut = _drawn(subject, seed, n, far), 1 + seed % (n - 1)
    pieces = [asked(subject.model, rows_at(rows, range(*ends))) for ends in ((0, cut), (cut, n))]
    joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    near(joined, asked(subject.model, rows), subject, estimate=_estimate(far))


def _repeated(subject: Subject, case: Any) -> None:
    seed, n, far = case
    places = np.random.default_rng(seed).integers(0, 3, n)
    found = asked(subject.model, rows_at(_drawn(subject, seed, 3, far), places))
    firsts = np.array([np.flatnonzero(places == place)[0] for place in places])
    same(found, _at(found, firsts))


def _beside_others(subject: Subject, case: Any) -> None:
    seed, n, far = case
    rows, others = _drawn(subject, seed, n, far), _drawn(subject, seed + 1, n, 10.0)
    place = seed % n
    if isinstance(rows, pa.Table):
        mixed = pa.concat_tables([others[:place], rows[place : place + 1], others[place + 1 :]])
    else:
        mixed = np.where(np.arange(n)[:, None] == place, rows, others)
    same(_at(asked(subject.model, mixed), [place]), _at(asked(subject.model, rows), [place]))


_CELLS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e-300, 5e-324, 1e-38, 1e6, -1e6, 1e15, 1e30, -1e30, 3e38, 0.5, 2.0**53, -1.0]),
)


def _any_cell(subject: Subject, case: Any) -> None:
    seed, place, column, cell = case
    rows = _drawn(subject, seed, 8, 0.0)
    spoilt = rows.copy()
    spoilt[place, column] = cell
    ours = np.arange(8) != place
    for name, ask in _each_question(subject):
        try:
            found = ask(spoilt)
        except DiaboloError as error:
            require(re.search(rf"[Cc]olumn x?{column}\b", str(error)), f"{name} does not name column {column}: {error}")
            continue
        for answer, cells in found.items():
            if cells.dtype.kind == "f":
                assert not np.isnan(cells).any(), f"{answer} is NaN"
                assert not (cells == np.inf).any(), f"{answer} is infinite"
                assert np.isfinite(cells[ours]).all(), f"{answer} of another row is {cells[ours]}"
        same(_at(found, ours), _at(ask(rows), ours))


def _each_question(subject: Subject) -> list[tuple[str, Any]]:
    return [
        (name, lambda rows, name=name, ask=ask: columns_of(name, ask(rows)))
        for name, ask in questions(subject.model).items()
    ]


def _known_cells(subject: Subject, case: Any) -> None:
    seed, n, share = case
    rng = np.random.default_rng(seed)
    whole = _drawn(subject, seed, n, 0.0)
    fill = subject.model.impute if hasattr(subject.model, "impute") else subject.model.transform
    if isinstance(whole, pa.Table):
        used = [column.name for column in subject.model.schema_.used]
        condition = getattr(subject.model, "condition", None)  # whose cells must not be missing
        masks = {name: rng.random(n) < share * (name != condition) for name in used}
        given = pa.table(
            {
                name: pa.array(
                    [None if masks[name][i] else cell for i, cell in enumerate(whole[name].to_pylist())],
                    whole[name].type,
                )
                for name in used
            }
        )
        filled = fill(given)
        for name in used:
            before, after = given[name].to_pylist(), filled[name].to_pylist()
            assert None not in after, name
            assert all(one is None or one == other for one, other in zip(before, after, strict=True)), name
        return
    given = np.where(rng.random(whole.shape) < share, np.nan, whole)
    filled = np.asarray(fill(given))
    known = ~np.isnan(given)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[known], given[known])


def _there_and_back(subject: Subject, case: Any) -> None:
    seed, n, far = case
    rows, model = _drawn(subject, seed, n, far), subject.model
    back = columns_of("reconstruct", model.inverse_transform(model.transform(rows)))
    near(back, columns_of("reconstruct", model.reconstruct(rows)), subject)


def _agree(subject: Subject, case: Any) -> None:
    seed, n, far = case
    rows, model = _drawn(subject, seed, n, far), subject.model
    if isinstance(model, AnomalyDetector):
        scores, why = model.score_samples(rows), model.explain(rows)
        near({"scores": -scores}, {"scores": why.contributions.sum(axis=1)}, subject)
        np.testing.assert_array_equal(model.predict(rows) == -1, model.p_values(rows) <= model.false_alarm_rate)
        np.testing.assert_array_equal(model.predict(rows) == -1, model.decision_function(rows) < 0)
        order = np.argsort(scores, kind="stable")
        assert (np.diff(model.p_values(rows)[order]) >= 0).all(), "p-values do not follow scores"
    elif hasattr(model, "predict_proba"):
        shares = model.predict_proba(rows)
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
        np.testing.assert_array_equal(model.predict(rows), model.classes_[shares.argmax(axis=1)])
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(np.exp(model.predict_log_proba(rows)), shares, rtol=1e-5, atol=1e-30)
    else:
        scores = model.score_samples(rows)
        assert model.score(rows) == scores.mean()
        if hasattr(model, "log_likelihood"):
            assert (model.elbo(rows, n_samples=64) <= model.log_likelihood(rows, n_samples=64) + 1.0).all()


def _planted(subject: Subject, case: Any) -> None:
    seed, column, sign, far = case
    rng = np.random.default_rng(seed)
    rows = rows_at(subject.rows, rng.permutation(len(subject.rows))[:40])
    place = int(rng.integers(40))
    low, high = np.nanmin(subject.rows[:, column]), np.nanmax(subject.rows[:, column])
    rows[place, column] = (high if sign > 0 else low) + sign * far * (high - low)
    scores = subject.model.score_samples(rows)
    assert scores.argmin() == place, f"row {place + 1} scores {scores[place]:.4g}, the lowest is {scores.min():.4g}"


LAWS = (
    Law(
        "permuted rows",
        "To the bit: a row's answer is computed from this row alone, by the same program.",
        "rows",
        _rows(60),
        _permuted,
        _speaks,
        many=1000,
    ),
    Law(
        "other rows beside it",
        "To the bit: the other rows of a request are replaced, this row's answer is not.",
        "rows",
        _rows(40),
        _beside_others,
        _speaks,
        many=1000,
    ),
    Law(
        "repeated rows",
        "To the bit: equal rows have equal answers.",
        "rows",
        _rows(40),
        _repeated,
        _speaks,
        many=1000,
    ),
    Law(
        "one row alone",
        "To 1e-5 of the answer and its spread (1e-3 for estimates of log p; 10 % for rows ten spreads from those of "
        "the fit): another number of rows may be another program, which rounds differently.",
        "rows",
        _rows(60),
        _alone,
        _speaks,
        many=1000,
    ),
    Law(
        "rows in two pieces",
        "To the same tolerance, for the same reason.",
        "rows",
        _rows(60),
        _in_pieces,
        _speaks,
        many=1000,
    ),
    Law(
        "any number in a cell",
        "Never NaN and never +∞: a number, −∞, or an error that names the column; the other rows' answers are equal "
        "to the bit.",
        "rows",
        lambda subject: st.tuples(seeds, st.integers(0, 7), st.integers(0, 5), _CELLS),
        _any_cell,
        lambda subject: _speaks(subject) and not subject.is_table,
        few=12,
        many=1500,
    ),
    Law(
        "known cells stay",
        "To the bit: a filled table has the known cells unchanged, and no empty cell.",
        "rows",
        lambda subject: st.tuples(seeds, st.integers(1, 30), st.sampled_from([0.0, 0.2, 0.5, 1.0])),
        _known_cells,
        lambda subject: _speaks(subject) and subject.allows_missing and not subject.name.startswith("detector"),
    ),
    Law(
        "there and back",
        "To 1e-5: `inverse_transform` of `transform` is `reconstruct`, by another program.",
        "rows",
        _rows(40),
        _there_and_back,
        lambda subject: hasattr(subject.make(), "inverse_transform") and not getattr(subject.make(), "condition", None),
    ),
    Law(
        "answers agree with each other",
        "Exactly: flags follow p-values and `decision_function`, p-values follow scores, `predict` follows "
        "`predict_proba`, `score` is the mean; to 1e-5: contributions sum to the score.",
        "rows",
        _rows(60),
        _agree,
        lambda subject: _speaks(subject) and not subject.name.startswith("imputer"),
    ),
    Law(
        "a planted anomaly",
        "Ranks: a row with one cell 1 to 1,000 ranges outside its column has the lowest score of 40 rows.",
        "rows",
        lambda subject: st.tuples(seeds, st.integers(0, 5), st.sampled_from([-1, 1]), st.floats(1.0, 1000.0)),
        _planted,
        lambda subject: (
            subject.draw is numbers
            and subject.name.startswith(("detector", "variational"))
            and not getattr(subject.make(), "condition", None)  # whose cells are no anomalies
        ),
        few=20,
        many=3000,
    ),
)
