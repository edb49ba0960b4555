"""Columns that say which row it is: found, left out, said, and kept if the user says so."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diabolo
from diabolo import errors
from diabolo.data import blocks, order
from diabolo.data.blocks import open_store

N = 80
RNG = np.random.default_rng(0)
BASE = {"x": RNG.normal(size=N), "y": RNG.normal(size=N)}

LEFT_OUT = {
    "running": (range(N), errors.IdColumnWarning),
    "running from 1,000 down": (range(1_000, 1_000 - N, -1), errors.IdColumnWarning),
    "in steps": (range(0, 10 * N, 10), errors.IdColumnWarning),
    "running, shuffled": (RNG.permutation(N) + 500, errors.IdColumnWarning),
    "floats that run": (np.arange(N, dtype=float), errors.IdColumnWarning),
    "days": (pd.date_range("2024-01-01", periods=N), errors.ClockColumnWarning),
    "moments, unevenly": (
        pd.Timestamp("2024-01-01") + pd.to_timedelta(np.cumsum(RNG.integers(1, 999, N)), unit="s"),
        errors.ClockColumnWarning,
    ),
    "moments of a zone": (pd.date_range("2024-01-01", periods=N, freq="h", tz="Asia/Seoul"), errors.ClockColumnWarning),
    "seconds since 1970": (1_700_000_000 + np.cumsum(RNG.integers(1, 99, N)), errors.ClockColumnWarning),
    "texts that are all different": ([f"person {i}" for i in range(N)], errors.UniqueTextsWarning),
    "nothing": ([None] * N, errors.EmptyColumnWarning),
    "not a number": (np.full(N, np.nan), errors.EmptyColumnWarning),
    "in steps, shuffled": (RNG.permutation(N) * 10, errors.IdColumnWarning),
    "days, shuffled": (
        pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.permutation(N), unit="D"),
        errors.ClockColumnWarning,
    ),
    "weekdays": (pd.bdate_range("2024-01-01", periods=N), errors.ClockColumnWarning),
    "months": (pd.date_range("2010-01-01", periods=N, freq="MS"), errors.ClockColumnWarning),
    "seconds since 1970, shuffled": (1_700_000_000 + RNG.permutation(N) * 77 % 6007, errors.ClockColumnWarning),
    "lists": ([[1, 2]] * N, errors.UnsupportedColumnWarning),
    "bytes": ([b"a"] * N, errors.UnsupportedColumnWarning),
}
KEPT = {
    "birthdays": pd.Timestamp("1970-01-01") + pd.to_timedelta(RNG.integers(0, 9_999, N), unit="D"),
    "birthdays in order": pd.Timestamp("1970-01-01") + pd.to_timedelta(np.sort(RNG.integers(0, 9_999, N)), unit="D"),
    "time until failure, in order": np.sort(RNG.exponential(100.0, N)),
    "years": RNG.integers(1950, 2020, N),
    "counts": RNG.poisson(3.0, N),
    "a grid": np.linspace(0, 1, N),
    "a sorted number": np.sort(RNG.normal(size=N)),
    "a sorted whole number": np.sort(RNG.integers(0, 30, N)),
    "categories of numbers": pd.Categorical(RNG.integers(0, 3, N)),
    "a constant": np.ones(N),
}


def opened(**columns):
    return open_store(pd.DataFrame({**BASE, **columns}))


@pytest.mark.parametrize("name", LEFT_OUT)
def test_it_is_left_out_with_a_warning_of_its_own(name):
    cells, kind = LEFT_OUT[name]
    with pytest.warns(kind) as caught:
        schema = opened(it=cells).schema
    assert [w.message.column for w in caught if issubclass(w.category, errors.ColumnLeftOutWarning)] == ["it"]
    assert {column.name: column.kind == "ignore" for column in schema.columns} == {"x": False, "y": False, "it": True}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_a_feature_is_kept_in_silence(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = opened(it=KEPT[name])
    assert found is None or "it" in found.schema.names


@pytest.mark.parametrize("name", ["id", "order_id", "customerId", "row_nr", "uuid"])
def test_a_name_tells_an_id_of_whole_numbers_that_are_all_different(name):
    numbers = RNG.choice(10**8, N, replace=False)
    with pytest.warns(errors.IdColumnWarning):
        assert name not in opened(**{name: numbers}).schema.names
    assert opened(**{name: RNG.integers(0, 9, N)}) is None  # not all different
    assert opened(grid=numbers) is None


def test_a_category_of_numbers_is_one():
    column = opened(it=KEPT["categories of numbers"]).schema.columns[2]
    assert column.kind == "category"
    assert sorted(column.categories) == ["0", "1", "2"]


@pytest.mark.parametrize("said", ["number", "ignore"])
def test_the_schema_has_the_last_word_in_silence(said):
    frame = pd.DataFrame({**BASE, "id": range(N)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = open_store(frame, wanted={"id": said})
    assert ("id" in found.schema.names) == (said == "number")


def test_few_rows_tell_nothing():
    few = pd.DataFrame({"x": BASE["x"][:10], "id": range(10)})
    assert open_store(few) is None


@pytest.mark.parametrize("kind", ["csv", "parquet", "arrow", "pandas", "polars"])
@pytest.mark.parametrize("chunked", [False, True])
def test_it_does_not_matter_what_rows_come_in(kind, chunked, tmp_path, monkeypatch):
    frame = pd.DataFrame({**BASE, "id": range(N)})
    if chunked:
        monkeypatch.setattr(blocks, "CHUNK_BYTES", 64)
        monkeypatch.setattr(blocks, "BLOCK_BYTES", 256)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet", index=False, row_group_size=9)
    rows = {
        "csv": lambda: str(tmp_path / "t.csv"),
        "parquet": lambda: str(tmp_path / "t.parquet"),
        "arrow": lambda: pa.Table.from_pandas(frame),
        "pandas": lambda: frame,
        "polars": lambda: pytest.importorskip("polars").from_pandas(frame),
    }[kind]()
    with pytest.warns(errors.IdColumnWarning):
        found = open_store(rows)
    assert found.schema.names == ("x", "y")


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(40)), st.integers(-(10**6), 10**6), st.integers(1, 1000))
def test_ids_are_found_in_any_order_and_numbers_at_random_are_not(order, start, seed):
    rng = np.random.default_rng(seed)
    table = pa.table({"x": rng.normal(size=40), "k": np.array(order) + start})
    assert open_store(table).schema.names == ("x",)
    assert open_store(pa.table({"x": rng.normal(size=40), "k": rng.integers(0, 40, 40)})) is None


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([*LEFT_OUT, *KEPT]), st.integers(0, 2**32 - 1))
def test_the_order_of_rows_decides_nothing(name, seed):
    cells = LEFT_OUT[name][0] if name in LEFT_OUT else KEPT[name]
    frame = pd.DataFrame({**BASE, "time": cells})
    shuffled = frame.sample(frac=1, random_state=np.random.RandomState(seed)).reset_index(drop=True)
    one, other = (open_store(some) for some in (frame, shuffled))
    assert (one is None) == (other is None)
    if one is not None:
        assert [(c.name, c.kind) for c in one.schema.columns] == [(c.name, c.kind) for c in other.schema.columns]


@pytest.mark.parametrize("repeated", [False, True])
def test_a_repeated_value_is_noticed_in_a_sample_of_the_values(monkeypatch, repeated):
    monkeypatch.setattr(order, "_MOST_VALUES", 50)
    numbers = RNG.choice(10**6, 2_000, replace=False)
    numbers[1_000:] = numbers[:1_000] if repeated else numbers[1_000:]
    column = order.Order("order_id")
    for piece in np.array_split(RNG.permutation(numbers), 7):
        column.see(pa.chunked_array([pa.array(piece)]))
    assert column.is_id != repeated


def test_a_column_of_infinite_numbers_only_is_refused():
    for more in ({}, {"t": ["u", "v"] * (N // 2)}):
        with pytest.raises(errors.InvalidData, match="infinit"):
            diabolo.BasicAutoencoder(n_latent=1, max_epochs=1).fit(pa.table({**BASE, **more, "it": np.full(N, np.inf)}))


# -- index columns ----------------------------------------------------------------------------------------------------

INDEXES = {
    "hours": pd.date_range("2024-01-01", periods=N, freq="h", name="when"),
    "names": pd.Index([f"p{i % 7}" for i in range(N)], name="who"),
    "numbers without a name": pd.Index(np.arange(N) * 3),
    "two levels": pd.MultiIndex.from_product([["a", "b"], range(N // 2)], names=["a", "b"]),
}


@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.parametrize("with_text", [False, True])
def test_an_index_is_no_feature(name, with_text, tmp_path):
    frame = pd.DataFrame(BASE | ({"t": ["u", "v"] * (N // 2)} if with_text else {})).set_index(INDEXES[name])
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv")
    for rows in (frame, pa.Table.from_pandas(frame), str(tmp_path / "t.parquet")):
        found = open_store(rows)
        names = list(BASE) if found is None else list(dict.fromkeys(found.names))
        assert set(names) <= set(frame.columns), names
    model = diabolo.BasicAutoencoder(n_latent=1, max_epochs=1, random_state=0).fit(frame)
    assert list(model.feature_names_in_) == list(frame.columns)
    again = model.reconstruct(frame)
    if with_text:
        assert again.index.equals(frame.index)
    assert len(model.score_samples(str(tmp_path / "t.parquet"))) == N


def test_a_first_column_without_a_name_is_an_index(tmp_path):
    pd.DataFrame(BASE, index=RNG.permutation(N)).to_csv(tmp_path / "t.csv")
    assert open_store(str(tmp_path / "t.csv")).names == ("x", "y")


def test_an_index_asked_for_by_name_is_a_column(tmp_path):
    pd.DataFrame(BASE, index=pd.Index(KEPT["years"], name="year")).to_parquet(tmp_path / "t.parquet")
    assert open_store(str(tmp_path / "t.parquet"), columns=["year", "x"]).names == ("year", "x")
