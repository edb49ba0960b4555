"""The columns of a fit: the same rows from every container, and results in the container that came."""

import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.datasets import load_iris

from diabolo.errors import InvalidData
from diabolo.estimators.input import InputSpec

IRIS = load_iris(as_frame=True).data
ROWS = IRIS.to_numpy()
MIXED = pd.DataFrame({"n": [1.5, 2.5, 3.0, 9.5], "k": ["a", "b", "a", "c"], "b": [True, False, True, True]})


def test_a_spec_is_a_value_that_reading_does_not_change():
    opened = InputSpec.learn("Any", IRIS)
    spec = opened.input
    before = dict(vars(spec))
    spec.read(IRIS)
    with pytest.raises(InvalidData):
        spec.read(IRIS.iloc[:, :2])
    assert vars(spec) == before
    assert (spec.names, spec.n_features, spec.width, opened.n_rows) == (tuple(IRIS.columns), 4, 4, 150)
    again = pickle.loads(pickle.dumps(spec))
    assert vars(again) == before


def test_every_container_gives_the_same_rows(tmp_path):
    spec = InputSpec.learn("Any", IRIS).input
    IRIS.to_csv(tmp_path / "iris.csv", index=False)
    IRIS[IRIS.columns[::-1]].to_csv(tmp_path / "reversed.csv", index=False)
    pa.parquet.write_table(pa.Table.from_pandas(IRIS, preserve_index=False), tmp_path / "iris.parquet")
    given = (IRIS, pa.Table.from_pandas(IRIS, preserve_index=False), *map(str, sorted(tmp_path.iterdir())))
    for rows in given:
        np.testing.assert_array_equal(spec.rows(rows), ROWS)
        np.testing.assert_array_equal(spec.map(rows, lambda some, first: 2 * some), 2 * ROWS)


def test_messages_name_the_estimator_and_the_column():
    spec = InputSpec.learn("SomeEstimator", IRIS).input
    holes = IRIS.copy()
    holes.iloc[3, 2] = np.nan
    with pytest.raises(InvalidData, match=r"row 4, column petal length \(cm\)"):
        spec.read(holes)
    with pytest.raises(InvalidData, match="SomeEstimator"):
        InputSpec.learn("SomeEstimator", ROWS).input.read(ROWS[:, :3])


def test_tables_come_back_as_they_came():
    opened = InputSpec.learn("Any", MIXED, "auto")
    assert isinstance(opened.rows, np.ndarray)
    for given in (MIXED, pa.Table.from_pandas(MIXED, preserve_index=False)):
        told = opened.input.convert(opened.rows, given)
        assert type(told) is type(given)
        frame = told if isinstance(told, pd.DataFrame) else told.to_pandas()
        pd.testing.assert_frame_equal(frame, MIXED, check_dtype=False)
    assert opened.input.is_ordered.tolist() == [owner == "n" for owner in opened.input.column_of_feature]
