"""One kind in, the same kind out: every estimator, for tables of numbers and of mixed columns of every library."""

import functools
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn

import diabolo
from diabolo.errors import InvalidData, UnseenColumnsWarning
from examples import ESTIMATORS
from helpers import over
from reported_models import bundle

N = 60
RNG = np.random.default_rng(0)
NUMBERS = pd.DataFrame(
    {
        "age": RNG.integers(18, 80, N),
        "height": RNG.normal(1.7, 0.1, N),
        "smoker": RNG.integers(0, 2, N).astype("uint8"),
        "weight": RNG.normal(70, 9, N).astype("float32"),
    },
    index=[f"r{i}" for i in range(N)],
)
MIXED = NUMBERS.assign(
    age=NUMBERS["age"].astype("Int64"),
    plan=pd.Categorical(RNG.choice(["a", "b"], N), categories=["b", "z", "a"], ordered=True),
    active=pd.array(RNG.random(N) < 0.5, dtype="boolean"),
    day=pd.date_range("2024-01-01", periods=N, tz="Asia/Seoul").as_unit("ms")[RNG.integers(0, N, N)],
    word=RNG.choice(["u", "v", "w"], N),
)
TABLES = {"numbers": NUMBERS, "mixed": MIXED}
TO = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "polars, lazy": lambda frame: pl.from_pandas(frame).lazy(),
    "Arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
}
SAME_KIND = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "polars, lazy": pl.LazyFrame, "Arrow": pa.Table}
AUTOENCODERS = list(ESTIMATORS)
IMPUTER = diabolo.AutoencoderImputer(diabolo.BasicAutoencoder(max_epochs=0), random_state=0)
DETECTOR = diabolo.AnomalyDetector(diabolo.BasicAutoencoder(max_epochs=0), false_alarm_rate=0.1, random_state=0)
GENERATOR = diabolo.AutoencoderGenerator(diabolo.VariationalAutoencoder(max_epochs=0), random_state=0)
OTHERS = {"AutoencoderImputer": IMPUTER, "AnomalyDetector": DETECTOR, "AutoencoderGenerator": GENERATOR}
CASES = {f"{name}, {table}": (name, table) for name in [*AUTOENCODERS, *OTHERS] for table in TABLES}
is_like_others = re.compile("'?(Autoencoder|StackedAutoencoder|SparseAutoencoder)\\b").match
"""Estimators that read and write tables by methods that others have as well."""


@functools.cache
def fitted(name, table, to="pandas"):
    estimator = sklearn.clone((ESTIMATORS | OTHERS)[name])
    if name in AUTOENCODERS:
        estimator.set_params(max_epochs=0)
    return estimator.fit(TO[to](TABLES[table]))


@functools.cache
def holed(table):
    """The table with an empty cell in every row, in columns that can have one without another type."""
    frame = TABLES[table].copy()
    for i, name in enumerate(["height", "weight", "plan", "active"][: 2 if table == "numbers" else 4]):
        frame.loc[frame.index[i::4], name] = pd.NA if name in ("plan", "active") else np.nan
    return frame


def as_pandas(table):
    if isinstance(table, pd.DataFrame):
        return table.reset_index(drop=True)
    return (pl.from_arrow(table) if isinstance(table, pa.Table) else table.lazy().collect()).to_pandas()


def types_of(table):
    if isinstance(table, pa.Table):
        return {field.name: field.type for field in table.schema}
    return dict(table.dtypes if isinstance(table, pd.DataFrame) else table.collect_schema())


def with_missing(name, table):
    """A fitted estimator that fills missing cells, of this class."""
    if name == "AutoencoderImputer":
        return fitted(name, table)
    estimator = sklearn.clone(ESTIMATORS[name]).set_params(max_epochs=0)
    return estimator.fit(holed(table))


# -- rows in, rows out ------------------------------------------------------------------------------------------------

ROWS_OF = {
    "reconstruct": lambda model, X: model.reconstruct(X),
    "corrupt": lambda model, X: model.corrupt(X),
    "denoise": lambda model, X: model.denoise(X),
    "inverse_transform": lambda model, X: model.inverse_transform(model.transform(X)),
    "expected": lambda model, X: model.explain(X).expected,
    "observed": lambda model, X: model.explain(X).observed,
}


@over("name, table", CASES, large=is_like_others)
def test_rows_come_back_in_the_kind_of_table_that_came(name, table):
    model, frame = fitted(name, table), TABLES[table]
    for what, rows_of in ROWS_OF.items():
        if not hasattr(model, "explain" if what in ("expected", "observed") else what):
            continue
        found = {}
        for to, convert in TO.items():
            given = convert(frame)
            rows = found[to] = rows_of(model, given)
            assert type(rows) is SAME_KIND[to], (what, to)
            is_rounded = what != "corrupt" or table == "mixed"
            if is_rounded and (what != "inverse_transform" or to == "pandas"):
                assert types_of(rows) == types_of(given), (what, to)
            assert list(types_of(rows)) == list(frame.columns), (what, to)
        assert found["pandas"].index.equals(frame.index), what
        for to in ("polars", "Arrow"):
            pd.testing.assert_frame_equal(as_pandas(found[to]), as_pandas(found["pandas"]), check_dtype=False,
                                          check_categorical=False, obj=f"{what}, {to}")  # fmt: skip
        if table == "numbers" and what != "observed":
            with warnings.catch_warnings(action="ignore"):
                plain = rows_of(model, frame.set_axis(range(len(frame.columns)), axis=1).to_numpy(np.float64))
            assert type(plain) is np.ndarray


@over("name", [*AUTOENCODERS, "AutoencoderImputer"], large=is_like_others)
def test_filled_tables_are_of_the_kind_that_came_and_known_cells_unchanged(name):
    for table in TABLES:
        model, frame = with_missing(name, table), holed(table)
        fill = getattr(model, "impute", model.transform)
        for to, convert in TO.items():
            given = convert(frame)
            filled = fill(given)
            assert type(filled) is SAME_KIND[to]
            assert types_of(filled) == types_of(given)
            whole = as_pandas(filled)
            assert not whole.isna().any().any()
            known, before = frame.notna().to_numpy(), as_pandas(given)
            for i, column in enumerate(frame):
                assert whole[column][known[:, i]].tolist() == before[column][known[:, i]].tolist(), column
        assert fill(frame).index.equals(frame.index)


@over("name", AUTOENCODERS, large=is_like_others)
def test_codes_are_a_table_with_names_and_index(name):
    for table, frame in TABLES.items():
        model = fitted(name, table)
        codes = model.transform(frame)
        assert list(codes.columns) == list(model.get_feature_names_out())
        assert codes.index.equals(frame.index)
        for to, convert in TO.items():
            other = model.transform(convert(frame))
            assert type(other) is SAME_KIND[to]
            np.testing.assert_array_equal(as_pandas(other), codes)


def test_files_give_arrow_tables_of_rows_and_arrays_of_codes(tmp_path):
    for table, frame in TABLES.items():
        file = tmp_path / f"{table}.parquet"
        frame.to_parquet(file)
        model = fitted("BasicAutoencoder", table)
        rows = model.reconstruct(file)
        assert rows.column_names == list(frame.columns)
        np.testing.assert_array_equal(model.transform(file), model.transform(frame))
        of_file = diabolo.VariationalAutoencoder(max_epochs=0, random_state=0).fit(file).sample(3)
        assert type(of_file) is pa.Table
        assert of_file.column_names == list(frame.columns)


# -- rows that come from no rows --------------------------------------------------------------------------------------


@over("name", ["Autoencoder", "VariationalAutoencoder", "AutoencoderGenerator"], large=is_like_others)
def test_samples_are_of_the_kind_of_the_fit_also_after_loading(name, tmp_path_factory):
    for table, frame in TABLES.items():
        for to, convert in TO.items():
            model = fitted(name, table, to)
            rows = model.sample(5, random_state=1)
            assert type(rows) is SAME_KIND[to]
            assert types_of(rows) == types_of(convert(frame)), (table, to)
            folder = tmp_path_factory.mktemp("saved") / "model"
            model.save(folder)
            again = diabolo.load(folder).sample(5, random_state=1)
            assert type(again) is SAME_KIND["polars" if to == "polars, lazy" else to]
            pd.testing.assert_frame_equal(as_pandas(again), as_pandas(rows), check_dtype=False, check_categorical=False)
            if to == "pandas":
                assert types_of(again) == types_of(rows)


def test_arrays_give_arrays():
    rows = NUMBERS.to_numpy(np.float64)
    model = diabolo.VariationalAutoencoder(max_epochs=0, random_state=0).fit(rows)
    found = [model.reconstruct(rows), model.sample(2), model.transform(rows), model.interpolate(rows[:1], rows[1:2])]
    assert {type(one) for one in found} == {np.ndarray}
    assert (found[0][:, 0] % 1 != 0).any()  # means, not integers


def test_interpolations_are_of_the_kind_of_their_ends():
    for table, frame in TABLES.items():
        model = fitted("VariationalAutoencoder", table)
        for to, convert in TO.items():
            assert type(model.interpolate(convert(frame[:1]), convert(frame[1:2]), 4)) is SAME_KIND[to]


# -- integers ---------------------------------------------------------------------------------------------------------


@over("name", [*AUTOENCODERS, "AnomalyDetector"], large=is_like_others)
def test_columns_of_integers_stay_integers_without_and_with_other_columns_beside_them(name):
    for table, whole in TABLES.items():
        model = fitted(name, table)
        for frame in (whole, whole.astype({"age": float, "smoker": float})):
            rows = model.explain(frame).expected if name == "AnomalyDetector" else model.reconstruct(frame)
            for column in ("age", "smoker"):
                values = rows[column].to_numpy(float)
                assert (values == np.round(values)).all()
                low, high = NUMBERS[column].min(), NUMBERS[column].max()
                assert low <= values.min() <= values.max() <= high
            assert (rows["height"] % 1 != 0).any()


def test_integers_and_fractions_are_told_apart_however_the_rows_are_read(tmp_path, monkeypatch):
    from diabolo.data import blocks

    NUMBERS.to_parquet(tmp_path / "rows.parquet")
    NUMBERS.to_csv(tmp_path / "rows.csv", index=False)
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 64)
    for file in ("rows.parquet", "rows.csv"):
        model = diabolo.BasicAutoencoder(max_epochs=0, random_state=0).fit(tmp_path / file)
        assert [column.whole for column in model.input_.cells.columns] == [True, False, True, False]
        assert pa.types.is_integer(model.reconstruct(tmp_path / file).schema.field("age").type)


def test_fractions_in_the_last_row_count(tmp_path):
    late = pd.DataFrame({"a": [*range(50), 0.5], "b": np.r_[np.arange(50), 7.0][::-1] ** 2})
    model = diabolo.BasicAutoencoder(max_epochs=0, random_state=0).fit(late)
    assert [column.whole for column in model.input_.cells.columns] == [False, True]


# -- columns by name --------------------------------------------------------------------------------------------------


@over("library", ["default", "pandas", "polars"])
def test_the_imputers_columns_are_those_it_names_whatever_comes(library):
    wild = MIXED.assign(id=[f"key {i}" for i in range(N)])
    with warnings.catch_warnings(action="ignore"):
        model = sklearn.clone(IMPUTER).fit(wild)
    model.set_output(transform=library)
    names = list(model.get_feature_names_out())
    assert names == list(wild.columns)
    for to, convert in TO.items():
        for frame in (wild, wild[names[::-1]], wild.assign(more=1, another="x"), MIXED):
            with warnings.catch_warnings(action="ignore"):
                filled = model.transform(convert(frame))
            assert type(filled) is SAME_KIND[to if library == "default" else library]
            assert list(types_of(filled)) == names
            same = as_pandas(filled)
            assert same["height"].tolist() == wild["height"].tolist()
            assert same["id"].isna().all() if frame is MIXED else same["id"].tolist() == wild["id"].tolist()
            if to == "pandas" and library != "polars":
                assert filled.index.equals(frame.index)


@over("name", [*AUTOENCODERS, *OTHERS], large=is_like_others)
def test_mixed_columns_are_read_by_name_and_unseen_ones_counted(name):
    model, shuffled = fitted(name, "mixed"), MIXED[MIXED.columns[::-1]]
    actions = [
        getattr(model, act) for act in ("reconstruct", "transform", "score_samples", "p_values") if hasattr(model, act)
    ]
    if hasattr(model, "explain"):
        actions.append(lambda X: model.explain(X).expected)
    for act in actions:
        wanted = act(MIXED)
        with warnings.catch_warnings(action="error"):
            found = act(shuffled)
        with pytest.warns(UnseenColumnsWarning) as told:
            more = act(shuffled.assign(new=1.0, newer="x"))
        assert set(told[0].message.columns) == {"new", "newer"}
        for other in (found, more):
            if isinstance(wanted, pd.DataFrame):
                pd.testing.assert_frame_equal(other, wanted)
            else:
                np.testing.assert_array_equal(other, wanted)


@over("name", [*AUTOENCODERS, "AnomalyDetector", "AutoencoderImputer"], large=is_like_others)
def test_tables_of_numbers_in_another_order_or_with_more_columns_are_refused(name):
    """As scikit-learn's own estimators do: its checks demand it."""
    model = fitted(name, "numbers")
    act = getattr(model, "transform", model.score_samples if hasattr(model, "score_samples") else None)
    for convert in TO.values():
        for frame in (NUMBERS[NUMBERS.columns[::-1]], NUMBERS.assign(new=1.0)):
            with pytest.raises(InvalidData, match="feature_names_in_"):
                act(convert(frame))


def test_files_of_numbers_are_read_by_name_and_unseen_columns_counted(tmp_path):
    model = fitted("BasicAutoencoder", "numbers")
    NUMBERS[NUMBERS.columns[::-1]].assign(new=1).to_parquet(tmp_path / "rows.parquet", index=False)
    with pytest.warns(UnseenColumnsWarning) as told:
        rows = model.reconstruct(tmp_path / "rows.parquet")
    assert told[0].message.columns == ("new",)
    assert rows.column_names == list(NUMBERS.columns)


LABELS = {
    "integers": lambda n: list(range(5, 5 + n)),
    "tuples": lambda n: pd.MultiIndex.from_tuples([("a", i) for i in range(n)], names=["group", None]),
}


@over("labels, table", {f"{labels}, {table}": (labels, table) for labels in LABELS for table in TABLES})
def test_labels_that_are_no_texts_are_kept(labels, table):
    frame = TABLES[table].set_axis(LABELS[labels](TABLES[table].shape[1]), axis=1)
    model = diabolo.VariationalAutoencoder(max_epochs=0, random_state=0).fit(frame)
    pd.testing.assert_index_equal(model.reconstruct(frame).columns, frame.columns, exact="equiv")
    pd.testing.assert_index_equal(model.sample(2).columns, frame.columns, exact="equiv")
    given = model.sample(2, given={frame.columns[1]: 1.75})
    assert given[frame.columns[1]].tolist() == [1.75, 1.75]
    detector = sklearn.clone(DETECTOR).fit(frame)
    why = detector.explain(frame)
    assert why.columns == tuple(frame.columns)
    assert why.top_features(2).shape == (N, 2)
    assert why.top_features(2)[0, 0] in why.columns
    for part in (why.observed, why.expected):
        pd.testing.assert_index_equal(part.columns, frame.columns, exact="equiv")
        assert list(part.dtypes) == list(frame.dtypes)
    if table == "numbers":
        with pytest.raises(InvalidData):
            model.transform(frame[frame.columns[::-1]])


# -- given cells are shown as given -----------------------------------------------------------------------------------


def test_explanations_show_the_cells_as_given():
    strange = MIXED[:4].astype({"plan": object}).assign(age=400, plan="zzz", height=-3.5)
    numbers = NUMBERS[:4].assign(age=400, height=-3.5)
    for table, frame in (("mixed", strange), ("numbers", numbers)):
        observed = fitted("AnomalyDetector", table).explain(frame).observed
        pd.testing.assert_frame_equal(observed, frame, check_dtype=table == "numbers")
    with pytest.warns(FutureWarning):
        fitted("AnomalyDetector", "numbers").explain(NUMBERS).seen  # noqa: B018  the former name


def test_given_values_of_samples_are_exact():
    for table in TABLES:
        for name in ("VariationalAutoencoder", "AutoencoderGenerator"):
            rows = fitted(name, table).sample(3, given={"height": 1.654321, "age": 40, "smoker": True}, random_state=0)
            assert rows["height"].tolist() == [1.654321] * 3
            assert rows["age"].tolist() == [40] * 3
            assert rows["smoker"].tolist() == [1] * 3
    far = fitted("VariationalAutoencoder", "numbers").sample(2, given={"age": 95.5}, random_state=0)
    assert far["age"].tolist() == [95.5, 95.5]
    assert fitted("VariationalAutoencoder", "mixed").sample(1, given={"active": True})["active"].tolist() == [True]


def test_categories_are_given_by_their_meaning():
    table = MIXED.assign(ok=np.where(RNG.random(N) < 0.5, "true", "false"))
    table.loc[table.index[0], "ok"] = "maybe"
    model = diabolo.VariationalAutoencoder(max_epochs=0, random_state=0).fit(table)
    assert model.sample(2, given={"ok": True})["ok"].tolist() == ["true", "true"]
    with pytest.raises(InvalidData):
        model.sample(2, given={"ok": "perhaps"})


# -- the imputer on ordinary files ------------------------------------------------------------------------------------

OTHER_TYPES = {
    "integers in a column of fractions": ("height", lambda cells: cells.round().astype("Int64")),
    "small integers": ("age", lambda cells: cells.astype("Int8")),
    "fractions in a column of integers": ("age", lambda cells: cells.astype("float32") + 0.5),
    "32-bit floats": ("height", lambda cells: cells.astype("float32")),
    "days": ("day", lambda cells: cells.dt.tz_localize(None).dt.normalize().astype("datetime64[s]")),
    "nanoseconds": ("day", lambda cells: cells.dt.as_unit("ns")),
    "another zone": ("day", lambda cells: cells.dt.tz_convert("UTC")),
    "objects": ("word", lambda cells: cells.astype(object)),
    "0 and 1 as truths": ("smoker", lambda cells: cells.astype("boolean")),
    "truths as 0 and 1": ("active", lambda cells: cells.astype("Int64")),
}


@over("name, change", OTHER_TYPES)
def test_columns_of_other_types_are_filled_and_known_cells_stay(name, change):
    model = fitted("AutoencoderImputer", "mixed")
    frame = MIXED.assign(**{name: change(MIXED[name])})
    for some in (frame, pd.concat([frame] * 30)):
        holes = some.copy()
        unknown = np.arange(len(holes)) % 3 == 0
        holes[name] = holes[name].mask(unknown)
        filled = model.transform(holes)
        assert not filled[name].isna().any()
        assert filled[name][~unknown].tolist() == some[name][~unknown].tolist()
        is_wider = pd.api.types.is_integer_dtype(some[name]) and name == "height"
        assert is_wider or filled[name].dtype == holes[name].dtype


def test_filled_moments_have_the_clock_of_their_column():
    model = fitted("AutoencoderImputer", "mixed")
    holes = MIXED.assign(day=MIXED["day"].mask(np.arange(N) % 3 == 0))
    wanted = model.transform(holes)["day"]
    naive = model.transform(holes.assign(day=holes["day"].dt.tz_localize(None)))["day"]
    assert (naive.dt.tz_localize("Asia/Seoul") == wanted).all()
    utc = model.transform(holes.assign(day=holes["day"].dt.tz_convert("UTC")))["day"]
    assert (utc == wanted).all()


def test_chunks_of_a_file_are_filled_alike(tmp_path, monkeypatch):
    """A column of integers without an empty cell in the first chunk, and with one later, whose value is a fraction."""
    from diabolo.data import blocks

    model = fitted("AutoencoderImputer", "mixed")
    long = pd.concat([MIXED] * 20, ignore_index=True).assign(height=1)
    long["height"] = long["height"].astype("Int64").mask(np.arange(len(long)) > len(long) - 5)
    long.to_parquet(tmp_path / "rows.parquet", row_group_size=100)
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 4000)
    filled = model.transform(tmp_path / "rows.parquet")
    assert filled.schema.field("height").type == pa.float64()
    assert filled["height"].to_pylist()[:5] == [1.0] * 5
    assert filled["height"].null_count == 0


@over("table", list(TABLES))
def test_bounds_show_known_cells_as_given_and_are_not_cut(table):
    model, frame = fitted("AutoencoderImputer", table), TABLES[table].copy()
    frame["age"] = frame["age"].astype("Int64")
    frame.loc[frame.index[:2], "age"] = 400
    frame.loc[frame.index[2:6], "age"] = pd.NA
    frame.loc[frame.index[4:8], "height"] = np.nan
    if table == "mixed":
        frame["word"] = frame["word"].where(np.arange(N) > 3, "zzz")
        frame.loc[frame.index[8:10], "day"] = pd.NaT
    low, high = model.prediction_intervals(frame, coverage=0.5)
    for bound in (low, high):
        assert bound.index.equals(frame.index)
        assert list(bound.dtypes) == list(frame.dtypes)
        for name, cells in frame.items():
            assert bound[name][cells.notna()].tolist() == cells.dropna().tolist()
    assert (low["height"] < high["height"])[4:8].all()
    assert (low["age"] <= high["age"]).all()
    with pytest.warns(UserWarning, match="infinite"):
        low, high = model.prediction_intervals(frame, coverage=0.9999)
    assert (low["age"][2:6] == -np.inf).all()
    assert (high["height"][4:8] == np.inf).all()
    assert low["age"][:2].tolist() == [400, 400]
    if table == "mixed":
        assert low["day"][8:10].isna().all()
    with pytest.warns(FutureWarning):
        former = getattr(model, "intervals")(frame, 0.5)  # noqa: B009  the former name
    assert former[0]["age"].tolist() == model.prediction_intervals(frame, 0.5)[0]["age"].tolist()


def test_whole_tables_are_copied_by_the_command(tmp_path):
    from typer.testing import CliRunner

    from diabolo.cli.app import app

    for table, frame in TABLES.items():
        fitted("AutoencoderImputer", table).save(tmp_path / table)
        data = frame.assign(comment="c", key=range(N)).iloc[:, ::-1]
        data["height"] = data["height"].mask(np.arange(N) % 2 == 0)
        data.to_csv(tmp_path / "rows.csv", index=False)
        out = tmp_path / f"{table}-out.csv"
        with pytest.warns(UnseenColumnsWarning):
            done = CliRunner().invoke(
                app, ["impute", str(tmp_path / table), str(tmp_path / "rows.csv"), "-o", str(out)]
            )
        assert done.exit_code == 0, done.output
        found = pd.read_csv(out)
        assert list(found.columns) == [*frame.columns, "key", "comment"]
        assert found["key"].tolist() == list(range(N))
        assert not found["height"].isna().any()
        assert found["age"].tolist() == frame["age"].tolist()


# -- reports ----------------------------------------------------------------------------------------------------------


def test_reports_show_cells_as_given():
    model = fitted("BasicAutoencoder", "mixed")
    strange = MIXED.astype({"plan": object})
    strange.loc[strange.index[3], ["age", "plan", "word"]] = [48321, "zzz", "qqq"]
    page = str(bundle(model.report(strange)))
    for text in ("48321", "zzz", "qqq"):
        assert text in page


@over("name", ["BasicAutoencoder", "VariationalAutoencoder"])
def test_reports_of_columns_without_values(name):
    for rows in (NUMBERS.assign(height=np.nan).to_numpy(float), MIXED.assign(weight=np.nan)):
        with warnings.catch_warnings(action="ignore"):
            model = sklearn.clone(ESTIMATORS[name]).set_params(max_epochs=0).fit(rows)
            assert "</html>" in model.report(rows)
