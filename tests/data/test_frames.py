"""Tables of every library, in every type of theirs: the same numbers, or one of our errors."""

import datetime as dt
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

import diabolo
from diabolo.data import blocks, frames, sql, writers
from diabolo.data.blocks import open_store
from diabolo.data.schema import Schema
from diabolo.errors import InvalidData

pl = pytest.importorskip("polars")
N = 40
X = np.random.default_rng(0).normal(size=N)
T = ["u", "v", "v", None] * (N // 4)
TABLE = pa.table({"x": X, "t": T})
DAYS = [dt.date(2024, 1, 1) + dt.timedelta(days=37 * i % 100) for i in range(N)]

SAME = {
    "Arrow": lambda: TABLE,
    "a batch": lambda: TABLE.to_batches()[0],
    "a reader": TABLE.to_reader,
    "chunks": lambda: pa.concat_tables([TABLE[:7], TABLE[7:]]),
    "a dictionary": lambda: TABLE.set_column(1, "t", TABLE["t"].dictionary_encode()),
    "views": lambda: TABLE.set_column(1, "t", TABLE["t"].cast(pa.string_view())),
    "long texts": lambda: TABLE.set_column(1, "t", TABLE["t"].cast(pa.large_string())),
    "runs": lambda: TABLE.set_column(1, "t", pa.compute.run_end_encode(TABLE["t"].combine_chunks())),
    "polars": lambda: pl.from_arrow(TABLE),
    "polars, lazy": lambda: pl.from_arrow(TABLE).lazy(),
    "polars' categories": lambda: pl.from_arrow(TABLE).with_columns(pl.col("t").cast(pl.Categorical)),
    "polars' enum": lambda: pl.from_arrow(TABLE).with_columns(pl.col("t").cast(pl.Enum(["z", "v", "u"]))),
    "pandas": TABLE.to_pandas,
    "pandas' categories": lambda: TABLE.to_pandas().astype({"t": "category"}),
    "pandas on Arrow": lambda: TABLE.to_pandas(types_mapper=pd.ArrowDtype),
    "pandas' objects": lambda: TABLE.to_pandas().astype({"t": object}),
    "pandas, sparse": lambda: TABLE.to_pandas().assign(x=pd.arrays.SparseArray(X)),
}


@pytest.mark.parametrize("name", SAME)
def test_a_table_of_any_library_has_the_same_rows(name):
    wanted = open_store(TABLE)
    found = open_store(SAME[name]())
    assert [(c.name, c.kind, c.categories) for c in found.schema.columns] == [
        (c.name, c.kind, c.categories) for c in wanted.schema.columns
    ]
    np.testing.assert_array_equal(found.rows, wanted.rows)
    np.testing.assert_array_equal(open_store(SAME[name](), wanted=wanted.schema).rows, wanted.rows)


@pytest.mark.parametrize("name", ["a batch", "a reader", "polars, lazy", "pandas, sparse"])
def test_numbers_alone_are_read_from_any_container(name):
    numbers = TABLE.select(["x"]).append_column("y", pa.array(X[::-1]))
    rows = {
        "a batch": lambda: numbers.to_batches()[0],
        "a reader": numbers.to_reader,
        "polars, lazy": lambda: pl.from_arrow(numbers).lazy(),
        "pandas, sparse": lambda: pd.DataFrame({"x": pd.arrays.SparseArray(X), "y": X[::-1]}),
    }[name]()
    found = open_store(rows)
    assert found.names == ("x", "y")
    np.testing.assert_array_equal(found.rows, np.stack([X, X[::-1]], axis=1))


@pytest.mark.parametrize(
    "make", [lambda t: t, lambda t: t.to_pandas(), pl.from_arrow], ids=["arrow", "pandas", "polars"]
)
def test_no_rows_are_refused(make):
    with pytest.raises(InvalidData, match="no rows"):
        open_store(make(TABLE[:0]))
    with pytest.raises(InvalidData, match="no rows"):
        open_store(make(TABLE[:0]), wanted=open_store(TABLE).schema)
    model = diabolo.BasicAutoencoder(n_latent=1, max_epochs=1).fit(TABLE)
    for act in (model.transform, model.reconstruct, model.score_samples):
        with pytest.raises(InvalidData):
            act(make(TABLE[:0]))


@pytest.mark.parametrize(
    "what",
    ["INTERVAL (i) DAY", "union_value(num := i)", "[i]", "{'a': i}", "'1'::BLOB", "TIME '10:00'", "MAP {'k': i}"],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_types_that_only_a_database_has_are_left_out(what, chunked, monkeypatch, tmp_path):
    pytest.importorskip("duckdb")
    if chunked:
        monkeypatch.setattr(blocks, "CHUNK_BYTES", 64)
    query = f"SELECT sin(i) AS x, {what} AS d, CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END AS t FROM range(40) r(i)"
    found = open_store(query)
    assert found.schema.names == ("x", "t")
    model = diabolo.BasicAutoencoder(n_latent=1, max_epochs=1).fit(query)
    for suffix in (".csv", ".parquet"):
        whole = next(iter(found.tables(whole=True))) if chunked else found
        writers.write(str(tmp_path / f"out{suffix}"), whole.given)
    assert len(model.score_samples(query)) == 40


def test_an_answer_of_no_rows_and_any_type_is_refused():
    pytest.importorskip("duckdb")
    with pytest.raises(InvalidData, match="no rows"):
        open_store("SELECT union_value(num := i) AS d, 1.5 AS x FROM range(0) r(i)")
    assert next(sql.answer("SELECT union_value(num := i) AS d FROM range(0) r(i)")).num_rows == 0


def test_cells_that_csv_has_no_form_for_are_written_as_texts(tmp_path):
    table = pa.table(
        {
            "l": [[1, 2], None],
            "s": [{"a": "ä"}, {"a": None}],
            "t": pa.array([dt.timedelta(days=1), None]),
            "b": [b"a\xff", None],
            "c": pa.array(["u", None]).dictionary_encode(),
        }
    )
    writers.write(str(tmp_path / "t.csv"), table)
    lines = (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["l,s,t,b,c", '"[1, 2]","{""a"": ""ä""}","1 day, 0:00:00","61ff","u"', ',"{""a"": null}",,,']


# -- the same cell in another type ------------------------------------------------------------------------------------


def encoded(cells, later):
    schema = Schema.infer([pa.table({"it": cells, "x": X[: len(cells)]})])
    return schema.encode(pa.table({"it": later, "x": X[: len(later)]}))[:, schema.column_slices["it"]]


def test_a_category_means_the_same_in_another_type():
    truths = ["True", "False", "Maybe", "True"]
    np.testing.assert_array_equal(encoded(truths, [True, False]), encoded(truths, ["True", "False"]))
    codes = ["01", "2", "x", "x", "01", "y"]
    np.testing.assert_array_equal(encoded(codes, [1, 2, 3]), encoded(codes, ["01", "2", "3"]))
    np.testing.assert_array_equal(encoded(codes, [1.0, None]), encoded(codes, ["01", None]))
    twofold = ["1", "01", "a", "b", "c"]
    assert encoded(twofold, [1])[0].argmax() == encoded(twofold, ["1"])[0].argmax()


def test_moments_are_read_on_the_clock_of_the_column():
    aware = pd.date_range("2024-06-01", periods=5, freq="7h", tz="Europe/Berlin")
    naive = aware.tz_localize(None)
    aware, naive = (pa.array(moments[[2, 0, 1, 4, 3]]) for moments in (aware, naive))
    np.testing.assert_array_equal(encoded(aware, naive), encoded(aware, aware))
    np.testing.assert_array_equal(encoded(naive, aware), encoded(naive, naive))
    utc = aware.cast(pa.timestamp("ns", "UTC"))
    np.testing.assert_array_equal(encoded(aware, utc), encoded(aware, aware))


def test_filled_cells_fit_into_a_column_of_another_type():
    schema = Schema.infer([pa.table({"x": [0.5, 1.5, 2.25], "d": [dt.datetime(2024, 1, i) for i in (1, 5, 9)]})])
    table = pa.table({"x": [1, None, 2], "d": pa.array([dt.date(2024, 1, 2), None, None]), "other": [[1], [2], [3]]})
    rows = np.array([[1.5, 0.0], [1.25, 19727.5], [0.5, 19728.0]])
    whole = schema.fill_missing(table, rows)
    assert whole["x"].to_pylist() == [1.0, 1.25, 2.0]
    assert whole["d"].to_pylist()[1] == dt.date(2024, 1, 6)  # whole days were seen
    assert whole.column_names == ["x", "d"]  # the columns of the schema


# -- costs ------------------------------------------------------------------------------------------------------------


def test_encoding_is_linear_in_columns_and_categories():
    schema = Schema.infer([pa.table({f"x{i}": [0.5, 1.5] for i in range(3_000)})])
    calls = 0

    def count(frame, event, _):
        nonlocal calls
        calls += event == "call"

    table = pa.table({f"x{i}": [0.5, 1.5] for i in range(3_000)})
    sys.setprofile(count)
    schema.encode(table)
    sys.setprofile(None)
    assert calls < 100 * 3_000
    many = [f"c{i}" for i in range(8_000)]
    wide = Schema.infer([pa.table({"t": many})], {"t": "category"})
    tracemalloc.start()
    wide.encode(pa.table({"t": ["c1"]}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_a_wide_encoding_is_made_piece_by_piece(monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 1 << 16)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"t": [f"c{i}" for i in rng.integers(0, 90, 2_000)], "x": rng.normal(size=2_000)})
    store = open_store(frame)
    assert isinstance(store, blocks.BlockReader)
    np.testing.assert_array_equal(
        np.concatenate(list(store.iter_chunks())), store.schema.encode(pa.Table.from_pandas(frame))
    )
    whole = pa.concat_tables(piece.given for piece in store.tables(whole=True))
    assert whole.equals(
        pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(whole.schema.metadata)
    )


def test_a_later_chunk_may_be_finer_than_the_first():
    fine = np.array([[1 + 1e-12, 2.0]])
    chunks = [np.ones((3, 2), np.float32), fine, np.ones((2, 2), np.float16)]
    got = open_store(iter(chunks)).rows
    np.testing.assert_array_equal(got, np.concatenate([chunk.astype(np.float64) for chunk in chunks]))


@pytest.mark.parametrize(
    "cells",
    [
        pa.chunked_array([pa.array(["a", None], pa.string_view())]),
        pa.chunked_array([pa.array(["a", None], pa.large_string())]),
        pa.chunked_array([pa.array(["a", None]).dictionary_encode()]),
        pa.table(pl.DataFrame({"k": pl.Series(["a", None], dtype=pl.Categorical)}))["k"],
    ],
    ids=lambda cells: str(cells.type),
)
def test_chunks_of_texts_in_several_types_are_joined(cells):
    found = frames.joined([pa.table({"k": cells}), pa.table({"k": ["x"]})])
    assert found["k"].to_pylist() == ["a", None, "x"]
