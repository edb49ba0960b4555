"""Tables as people have them: columns of all kinds, in one file, with no preparation."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import diabolo
from diabolo import BasicAutoencoder, StackedAutoencoder, VariationalAutoencoder, sweep
from diabolo.data import blocks
from diabolo.data.schema import MOST_CATEGORIES, Schema
from diabolo.errors import InvalidData
from diabolo.parts import Bernoulli, Gaussian, LearnedGaussian, NegativeBinomial

DAY = dt.date(2024, 2, 29)
NOON = dt.datetime(2024, 2, 29, 12, 30, 15, 250_000)


def customers(n=400, seed=0):
    """Three groups of people: every column tells something of the group."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, n)
    income = np.exp(8 + group + 0.3 * rng.normal(size=n))
    plan = np.array(["free", "plus", "pro"])[np.where(rng.uniform(size=n) < 0.9, group, rng.integers(0, 3, n))]
    return pd.DataFrame(
        {
            "age": (30 + 10 * group + 3 * rng.normal(size=n)).round().astype(int),
            "income": np.where(rng.uniform(size=n) < 0.1, np.nan, income),
            "plan": pd.Series(plan).mask(rng.uniform(size=n) < 0.1),
            "active": rng.uniform(size=n) < 0.1 + 0.4 * group,
            "visits": rng.negative_binomial(1 + 2 * group, 0.2),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(200 * group + rng.integers(0, 200, n), unit="D"),
            "name": [f"person {i}" for i in range(n)],
        }
    )


KNOWN = ["age", "income", "plan", "active", "visits", "since"]
SMALL = {"max_epochs": 4, "random_state": 0}


@pytest.fixture(scope="module")
def frame():
    return customers()


@pytest.fixture(scope="module")
def files(frame, tmp_path_factory):
    folder = tmp_path_factory.mktemp("customers")
    frame.to_csv(folder / "rows.csv", index=False)
    frame.to_parquet(folder / "rows.parquet", index=False, row_group_size=50)
    return folder


@pytest.fixture(scope="module")
def model(frame):
    return VariationalAutoencoder(max_epochs=60, learning_rate=5e-3, random_state=0).fit(frame)


# -- what a column is -------------------------------------------------------------------------------------------------

COLUMNS = {
    "floats": (pa.array([1.5, 2.0, None]), "number"),
    "whole numbers": (pa.array([20, 30, None]), "number"),
    "decimals": (pa.array([1.5, 2.5]).cast(pa.decimal128(4, 2)), "number"),
    "grades, which vary less than their mean": (pa.array([1, 2, 3, 3, 4, 5]), "number"),
    "negative whole numbers": (pa.array([-1, 0, 90]), "number"),
    "booleans": (pa.array([True, None, False]), "boolean"),
    "noughts and ones": (pa.array([0, 1, None], pa.int8()), "boolean"),
    "noughts and ones as pandas has them with gaps": (pa.array([0.0, 1.0, float("nan")]), "boolean"),
    "counts": (pa.array([0, 1, 2, 50, None]), "count"),
    "large counts": (pa.array([1, 10, 1_000_000_000]), "count"),
    "texts": (pa.array(["a", "b", None]), "category"),
    "texts by dictionary": (pa.array(["a", "b", None]).dictionary_encode(), "category"),
    "large texts": (pa.array(["a", "b"], pa.large_string()), "category"),
    "days": (pa.array([DAY, None]), "date"),
    "moments": (pa.array([NOON, None]), "date"),
    "moments of a zone": (pa.array([NOON]).cast(pa.timestamp("ms", "Asia/Seoul")), "date"),
    "texts that are all different": (pa.array([f"{i} x" for i in range(MOST_CATEGORIES + 1)]), "ignore"),
    "nothing": (pa.nulls(3), "ignore"),
    "no number": (pa.array([None, float("nan")], pa.float64()), "ignore"),
    "times of day": (pa.array([dt.time(12)]), "ignore"),
    "lists": (pa.array([[1, 2]]), "ignore"),
}
every_column = pytest.mark.parametrize("name", COLUMNS)


def inferred(cells, overrides=None):
    """The column, beside one that is always of use."""
    table = pa.table({"it": cells, "other": np.linspace(0.5, 1.5, len(cells))})
    return table, Schema.infer([table], overrides)


@every_column
def test_the_kind_of_a_column_is_inferred(name):
    cells, kind = COLUMNS[name]
    _, schema = inferred(cells)
    assert schema.columns[0].kind == kind
    assert bool(schema.columns[0].why) == (kind == "ignore")
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


@every_column
def test_it_does_not_depend_on_the_pieces_that_a_table_comes_in(name):
    table, schema = inferred(COLUMNS[name][0])
    assert Schema.infer([table[i : i + 1] for i in range(len(table))]) == schema


@every_column
def test_cells_become_numbers_and_numbers_cells(name):
    table, schema = inferred(COLUMNS[name][0])
    rows = schema.encode(table)
    assert rows.shape == (len(table), schema.width)
    again = schema.decode(rows)
    assert again.column_names == list(schema.names)
    for column in schema.used:
        cells = table[column.name]
        wanted = cells.cast(again[column.name].type).to_pylist()
        assert again[column.name].to_pylist() == [None if cell != cell else cell for cell in wanted]


@settings(max_examples=30, deadline=None)
@example([(None, None, None, dt.datetime(2150, 1, 1, 0, 23))])
@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(2**40), 2**40),
            st.none() | st.booleans(),
            st.none() | st.sampled_from(["", "a", "ü", "1 b"]),
            st.none() | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)),
        ),
        min_size=1,
    )
)
def test_any_table_is_given_back(cells):
    kinds = [pa.int64(), pa.bool_(), pa.string(), pa.timestamp("ms")]
    table = pa.table({"one": np.ones(len(cells))})
    for name, kind, column in zip("nbtd", kinds, zip(*cells, strict=True), strict=True):
        table = table.append_column(name, pa.array(column, kind, safe=False))
    schema = Schema.infer([table])
    assert schema.decode(schema.encode(table)).equals(table.select(list(schema.names)))


def test_columns_of_one_kind_lie_side_by_side_and_each_category_by_itself(frame):
    schema = Schema.infer([pa.Table.from_pandas(frame)])
    assert schema.blocks == (("number", 3), ("boolean", 1), ("count", 1), ("category", 4))
    assert schema.column_of_feature == ("age", "income", "since", "active", "visits", "plan", "plan", "plan", "plan")
    assert [schema.column_of_feature[place.start] for place in schema.column_slices.values()] == list(
        schema.column_slices
    )


def test_a_category_that_was_not_seen_is_other_and_a_missing_one_is_not():
    _, schema = inferred(pa.array(["b", "a", "b"]))
    assert schema.columns[0].categories == ("b", "a")  # the most frequent first
    table = pa.table({"it": ["a", "new", None], "other": [1.0, 1.0, 1.0]})
    np.testing.assert_array_equal(schema.encode(table)[:, 1:], [[0, 1, 0], [0, 0, 1], [np.nan] * 3])


def test_numbers_are_given_back_within_the_range_seen_and_whole_if_they_were():
    _, schema = inferred(pa.array([20, 40, 70]))
    back = schema.decode(np.array([[33.4, 0.9], [99.0, 7.0], [-5.0, np.nan]]))
    assert back["it"].to_pylist() == [33, 70, 20]
    assert back["other"].to_pylist() == [0.9, 1.5, None]


# -- what the user says instead ---------------------------------------------------------------------------------------

OVERRIDES = {
    "a count as a number": (pa.array([0, 9, 50]), "number", "number"),
    "a number as a count": (pa.array([3, 4, 5]), "count", "count"),
    "a number as a category": (pa.array([10, 20, 10]), "category", "category"),
    "left out": (pa.array([1.0, 2.0]), "ignore", "ignore"),
    "categories of one's own": (pa.array(["a", "b", "c"]), {"kind": "category", "categories": ["c", "d"]}, "category"),
    "many texts": (pa.array([f"{i} x" for i in range(300)]), "category", "category"),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_kind_can_be_given(name):
    cells, said, kind = OVERRIDES[name]
    table, schema = inferred(cells, {"it": said})
    assert schema.columns[0].kind == kind
    if isinstance(said, dict):
        assert schema.columns[0].categories == ("c", "d")
    elif kind != "ignore":
        assert schema.decode(schema.encode(table)).equals(table)


BAD_OVERRIDES = {
    "no such column": ({"nope": "number"}, "nope"),
    "no such kind": ({"it": "float"}, "float"),
    "an unknown word": ({"it": {"kind": "number", "low": 0}}, "it"),
    "texts as a number": ({"it": "number"}, "number"),
    "texts as a date": ({"it": "date"}, "date"),
    "fractions as a count": ({"other": "count"}, "other"),
    "fractions as booleans": ({"other": "boolean"}, "other"),
    "nothing left": ({"it": "ignore", "other": "ignore"}, "column"),
}


@pytest.mark.parametrize("name", BAD_OVERRIDES)
def test_what_does_not_suit_a_column_is_refused(name):
    overrides, message = BAD_OVERRIDES[name]
    with pytest.raises(InvalidData, match=message):
        inferred(pa.array(["a", "b", "a"]), overrides)


def test_a_word_among_numbers_is_not_taken_for_a_category():
    with pytest.raises(InvalidData, match="unknown"):
        inferred(pa.array(["1.5", "2", "unknown", None]))
    assert inferred(pa.array(["1.5", "2", "unknown"]), {"it": "category"})[1].columns[0].kind == "category"


def test_a_table_must_have_the_columns_and_they_must_be_what_they_were():
    table, schema = inferred(pa.array([1.5, 2.5]))
    with pytest.raises(InvalidData, match=r"\bit\b"):
        schema.encode(table.drop_columns("it"))
    with pytest.raises(InvalidData, match=r"\bit\b"):
        schema.encode(pa.table({"it": ["x", "y"], "other": [1.0, 2.0]}))


# -- tables and estimators --------------------------------------------------------------------------------------------


def test_each_kind_has_its_likelihood_and_numbers_the_one_given(frame):
    for said, part in (("gaussian", Gaussian()), (LearnedGaussian(0.01), LearnedGaussian(0.01))):
        fitted = VariationalAutoencoder(likelihood=said, max_epochs=0).fit(frame)
        likelihood = fitted.model_.recipe.likelihood
        assert likelihood.blocks[:3] == (part, Bernoulli(), NegativeBinomial())
        assert likelihood.widths == (3, 1, 1, 4)
    assert fitted.n_features_in_ == 6
    assert fitted.feature_names_in_.tolist() == KNOWN


def test_a_table_comes_back_as_a_table_of_its_kind(model, frame, files):
    arrow = pa.Table.from_pandas(frame)
    back = model.reconstruct(frame[::-1])
    assert back.index.equals(frame[::-1].index)
    assert back.columns.tolist() == KNOWN
    assert model.reconstruct(arrow).to_pandas().equals(back[::-1])
    of_file = model.reconstruct(files / "rows.parquet")
    assert of_file.equals(model.reconstruct(arrow).cast(of_file.schema))
    assert model.inverse_transform(model.transform(arrow)).to_pylist() == model.reconstruct(arrow).to_pylist()


def test_a_row_is_rebuilt_from_what_its_columns_tell_together(model, frame):
    """The plan is not needed to know the plan."""
    hidden = frame.assign(plan=None)
    known = frame["plan"].notna()
    guessed = model.reconstruct(hidden)["plan"]
    assert (guessed == frame["plan"])[known].mean() > 0.75


def test_the_empty_cells_of_a_table_are_filled_and_the_rest_is_as_it_was(model, frame, files, monkeypatch):
    filled = model.impute(frame, n_samples=64)
    for name in frame:
        known = frame[name].notna()
        assert filled[name].notna().all()
        assert (filled[name] == frame[name])[known].all()
    holed = frame.assign(plan=None)
    guessed = model.impute(holed, n_samples=64)["plan"]
    assert (guessed == frame["plan"])[frame["plan"].notna()].mean() > 0.75
    odd = frame.assign(plan="platinum", age=999)  # known, though never seen
    assert (model.impute(odd, n_samples=2)[["plan", "age"]] == odd[["plan", "age"]]).all(axis=None)
    draws = model.impute(frame, 2, n_samples=8, random_state=0)
    differs = (draws[0]["income"] != draws[1]["income"])[frame["income"].isna()]
    assert differs.mean() > 0.9  # two may lie at the end of the range
    assert draws[0]["plan"].isin(["free", "plus", "pro"]).all()
    for kind in ("csv", "parquet"):
        whole = model.impute(files / f"rows.{kind}", n_samples=64)
        assert whole.column_names == list(frame)
        with monkeypatch.context() as small:
            small.setattr(blocks, "CHUNK_BYTES", 4_000)
            pieces = model.impute(files / f"rows.{kind}", n_samples=64)
        assert pieces.drop_columns("income").equals(whole.drop_columns("income"))
        np.testing.assert_allclose(pieces["income"].to_numpy(), whole["income"].to_numpy(), rtol=1e-5)
        assert whole["name"].to_pylist() == frame["name"].tolist()
        np.testing.assert_allclose(whole["income"].to_numpy(), filled["income"], rtol=1e-6)


def test_new_rows_have_the_users_types_ranges_and_categories(model, frame):
    drawn = model.sample(2_000, random_state=0)
    wanted = pa.Table.from_pandas(frame, preserve_index=False).select(KNOWN)
    new, drawn = drawn, pa.Table.from_pandas(drawn)
    for name in KNOWN:
        assert drawn[name].type in (wanted[name].type, pa.string(), pa.large_string())
        assert drawn[name].null_count == 0
    for name in ("age", "income", "visits", "since"):
        assert frame[name].min() <= new[name].min() <= new[name].max() <= frame[name].max()
    assert set(new["plan"]) == {"free", "plus", "pro"}
    means = new.groupby("plan")["income"].mean()
    assert means["free"] < means["plus"] < means["pro"]


def test_new_rows_can_be_asked_to_have_certain_values(model, frame):
    incomes = []
    for plan in ("free", "pro"):
        drawn = model.sample(300, given={"plan": plan}, random_state=0)
        assert set(drawn["plan"]) == {plan}
        incomes.append(drawn["income"].mean())
    assert incomes[0] < 0.7 * frame["income"].mean() < frame["income"].mean() < 0.8 * incomes[1]
    day = dt.datetime(2020, 3, 1)
    drawn = model.sample(3, given={"since": day, "active": True})
    assert drawn[["since", "active"]].to_dict("records") == [{"since": day, "active": True}] * 3


BAD_WISHES = {
    "an unknown category": ({"plan": "platinum"}, "platinum"),
    "a number out of range": ({"age": 200}, "200"),
    "a text for a number": ({"age": "old"}, "old"),
    "an unknown column": ({"size": 3}, "size"),
}


@pytest.mark.parametrize("name", BAD_WISHES)
def test_rows_that_cannot_be_are_not_drawn(name, model):
    wish, message = BAD_WISHES[name]
    with pytest.raises(ValueError, match=message):
        model.sample(1, given=wish)


def test_one_row_becomes_another_step_by_step(model, frame):
    a, b = frame[:1], frame[1:2]
    steps = model.interpolate(a, b, 5)
    assert len(steps) == 5
    whole = steps.iloc[[0, 4]]
    assert list(whole["plan"]) == list(model.reconstruct(frame[:2])["plan"])
    np.testing.assert_allclose(whole["income"], model.reconstruct(frame[:2])["income"], rtol=1e-4)
    with pytest.raises(InvalidData, match="2 .*1 "):
        model.interpolate(frame[:2], b)


def test_an_unknown_category_is_an_unlikely_one(model, frame):
    row = frame[frame["plan"].notna()][:50]
    seen = np.max([model.score_samples(row.assign(plan=plan)) for plan in ("free", "plus", "pro")], axis=0)
    never, missing = model.score_samples(row.assign(plan="platinum")), model.score_samples(row.assign(plan=None))
    assert (never < seen - 1).all()
    assert (missing > never).all()


def test_the_mass_of_a_tables_discrete_columns_is_one():
    """Every row that there can be, summed: what is not "other" has nearly all of it."""
    rng = np.random.default_rng(0)
    table = pa.table({"a": rng.choice(["x", "y", "z"], 300), "b": rng.uniform(size=300) < 0.3})
    fitted = VariationalAutoencoder(max_epochs=100, learning_rate=1e-2, random_state=0).fit(table)
    every = pa.table({"a": ["x", "y", "z"] * 2, "b": [True] * 3 + [False] * 3})
    mass = np.exp(fitted.log_likelihood(every, n_samples=2_000)).sum()
    assert 0.97 < mass < 1.005


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("chunked", [False, True])
def test_files_in_memory_and_in_chunks_are_the_same_rows(kind, chunked, frame, files, model, monkeypatch):
    if chunked:
        monkeypatch.setattr(blocks, "CHUNK_BYTES", 4_000)
        monkeypatch.setattr(blocks, "BLOCK_BYTES", 2_000)
    opened = blocks.open_store(str(files / f"rows.{kind}"))
    assert isinstance(opened, blocks.BlockReader) == chunked
    assert opened.schema.names == model.schema_.names
    rows = np.concatenate(list(opened.iter_chunks())) if chunked else opened.rows
    np.testing.assert_array_equal(rows, model.schema_.encode(pa.Table.from_pandas(frame)))
    fitted = BasicAutoencoder(**SMALL).fit(files / f"rows.{kind}")
    np.testing.assert_allclose(fitted.score_samples(frame), fitted.score_samples(files / f"rows.{kind}"), rtol=1e-6)


def test_a_data_set_in_parts_and_its_scores_by_a_known_schema(frame, files, model, tmp_path, monkeypatch):
    pa.dataset.write_dataset(pa.Table.from_pandas(frame), tmp_path / "parts", format="feather")
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 4_000)
    parts = pa.dataset.dataset(tmp_path / "parts", format="feather")
    np.testing.assert_allclose(model.score_samples(parts), model.score_samples(frame), rtol=1e-6)
    assert BasicAutoencoder(**SMALL).fit(parts).schema_.names == model.schema_.names


def test_what_is_saved_is_the_model_with_its_schema(model, frame, tmp_path):
    model.save(tmp_path / "model")
    again = diabolo.load(tmp_path / "model")
    assert again.schema_ == model.schema_
    np.testing.assert_array_equal(again.score_samples(frame), model.score_samples(frame))
    assert again.sample(5, random_state=1).equals(model.sample(5, random_state=1))


def test_a_stopped_training_on_a_table_goes_on_to_the_bit(frame, tmp_path):
    deep = StackedAutoencoder(hidden_layer_sizes=(8,), pretrain="layerwise", pretrain_epochs=2, **SMALL)
    before = deep.fit(frame, checkpoint_dir=tmp_path).score_samples(frame)
    np.testing.assert_array_equal(deep.fit(frame, checkpoint_dir=tmp_path, resume=True).score_samples(frame), before)


def test_rows_to_judge_by_and_a_sweep_read_the_same_columns(frame, files):
    judged = BasicAutoencoder(**SMALL).fit(frame[:300], X_val=frame[300:])
    assert judged.n_samples_ == 400
    rates = {"learning_rate": [1e-3, 1e-2]}
    found = sweep(BasicAutoencoder(**SMALL), rates, frame[:300], frame[300:].drop(columns="name"))
    alone = BasicAutoencoder(learning_rate=1e-2, **SMALL).fit(frame[:300])
    assert found.table[1]["score"] == pytest.approx(alone.score(frame[300:]), abs=1e-3)


def test_columns_that_are_not_the_models_are_not_looked_at(model, frame):
    shuffled = frame[[*KNOWN[::-1], "name"]].assign(more=1.0)
    np.testing.assert_array_equal(model.score_samples(shuffled), model.score_samples(frame))


def test_a_table_of_numbers_is_taken_as_it_is_unless_a_schema_is_asked_for(frame):
    numbers = frame[["age", "visits"]]
    plain = VariationalAutoencoder(max_epochs=0).fit(numbers)
    assert plain.schema_ is None
    assert plain.reconstruct(numbers).dtypes.equals(numbers.dtypes)
    asked = VariationalAutoencoder(schema={}, max_epochs=0).fit(numbers)
    assert [column.kind for column in asked.schema_.columns] == ["number", "count"]


def test_a_table_and_a_model_that_do_not_suit_are_refused(model, frame):
    with pytest.raises(InvalidData, match="age, income"):
        model.transform(np.zeros((2, 6)))
    with pytest.raises(InvalidData, match="age"):
        model.transform(frame.drop(columns="age"))
    with pytest.raises(ValueError, match="could not convert"):
        BasicAutoencoder(schema=None, **SMALL).fit(frame)
    with pytest.raises(InvalidData):
        BasicAutoencoder(**SMALL).fit(frame[:1])
    whole = VariationalAutoencoder(**SMALL).fit(frame.dropna())
    with pytest.raises(ValueError, match=r"row \d+, column (income|plan)"):
        whole.transform(frame)


def test_rare_categories_count_as_others():
    table = pa.table({"kind": ["a", "a", "b", "c", "c", None], "x": [1.0, 2, 3, 4, 5, 6], "own": list("uuvvwx")})
    schema = Schema.infer([table])
    fewer, rows = schema.without_rare(schema.encode(table), 2, kept=("own",))
    assert {c.name: c.categories for c in fewer.columns} == {
        "kind": ("a", "c"),
        "x": (),
        "own": ("u", "v", "w", "x"),
    }
    np.testing.assert_array_equal(rows, fewer.encode(table))
    assert schema.without_rare(rows, 1) == (schema, rows)
