"""Trainings that go wrong, and what looks wrong but is not refused, as docs/errors.md lists them."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import scipy.sparse

import diabolo
from diabolo import errors, parts
from diabolo.core import distributions
from diabolo.data import blocks
from errors_page import (
    GOOD,
    LINES,
    MAX_ABS_SCALED,
    NAMES,
    RESULTS,
    SMALL,
    TRAININGS,
    basic,
    changed,
    holds,
    named,
)


def test_every_row_of_the_page_is_tried():
    assert list(RESULTS) == [what for what, _ in ACCEPTED]


# -- trainings --------------------------------------------------------------------------------------------------------

WILD = changed(2, 1, 1e25)
LONG = {"max_epochs": 600, "validation_fraction": None, "batch_size": 8}


def trained(rows=GOOD, **parameters):
    with pytest.warns() as told:
        basic(**LONG | parameters).fit(rows)
    raise told[0].message


def trained_variational():
    with pytest.warns() as told:
        diabolo.VariationalAutoencoder(hidden_layer_sizes=8, **SMALL | LONG | {"beta": 1e4, "init": "random"}).fit(GOOD)
    raise told[0].message


TRAINED = {
    "the loss is not finite": lambda: basic(learning_rate=1e30, optimizer="sgd", max_epochs=9).fit(GOOD),
    "the loss is not finite, and a column has extreme values": lambda: basic(scaling=None, init="random").fit(WILD),
    "the loss is not finite, and σ is very small": lambda: basic(
        likelihood=parts.Gaussian(1e-25), validation_fraction=None
    ).fit(GOOD),
    "the loss rises again, but stays finite": lambda: trained(
        learning_rate=10.0, optimizer="muon", learning_rate_schedule="constant"
    ),
    "nothing was learned": lambda: trained(learning_rate=1e-9, init="random"),
    "the code does not depend on the row": trained_variational,
}


@pytest.mark.parametrize("what", TRAININGS)
def test_trainings_that_go_wrong_say_why(what):
    kind, words = TRAININGS[what]
    with pytest.raises(getattr(errors, kind.strip("`"))) as caught:
        TRAINED[what]()
    assert holds(str(caught.value), words), str(caught.value)


@dataclass(frozen=True)
class BareGaussian(parts.Likelihood):
    """A learned σ without a floor."""

    support: ClassVar[str] = "real"
    discrete: ClassVar[bool] = False

    def build(self, n_features):
        return {"log_sigma": jnp.zeros(n_features)}

    def __call__(self, eta, own):
        return distributions.Normal(eta, jnp.exp(own["log_sigma"]))


def test_a_learned_sigma_that_collapses_is_named_as_the_cause():
    """Columns that are told exactly draw σ towards 0."""
    model = basic(
        likelihood=BareGaussian(), learning_rate=1.0, optimizer="sgd", validation_fraction=None, max_epochs=400
    )
    with pytest.raises(errors.TrainingDiverged, match="column 0"):
        model.fit(np.ones((30, 4)))


def test_the_floor_of_sigma_holds_where_columns_are_told_exactly():
    model = basic(likelihood="learned_gaussian", learning_rate=0.1, max_epochs=400, validation_fraction=None)
    model.fit(np.ones((30, 4)))
    assert np.isfinite(model.history_["loss"]).all()
    np.testing.assert_array_equal(model.reconstruct(np.ones((2, 4))), 1)


# -- what is not refused ----------------------------------------------------------------------------------------------


def constant_column(tmp_path):
    rows = changed(slice(None), 1, 1e15 / 3)
    np.testing.assert_array_equal(basic().fit(rows).reconstruct(rows)[:, 1].round(-1), np.round(rows[:, 1], -1))


def only_constant_columns(tmp_path):
    np.testing.assert_array_equal(basic().fit(np.full((30, 4), 0.1)).reconstruct(np.full((30, 4), 0.1)), 0.1)


def unknown_column(tmp_path):
    rows = changed(slice(None), 1, np.nan)
    assert np.isfinite(basic().fit(rows).reconstruct(rows)).all()
    (tmp_path / "rows.csv").write_text("a,b,c\n" + "".join(f"{i * 7 % 11},,{i * i % 7}\n" for i in range(30)))
    assert list(basic().fit(tmp_path / "rows.csv").feature_names_in_) == ["a", "c"]


def missing_cells(tmp_path):
    rows = changed(2, 1, np.nan)
    assert np.isfinite(basic().fit(rows).score_samples(rows)).all()


def one_column(tmp_path):
    assert basic().fit_transform(GOOD[:, :1]).shape == (30, 2)


def wide_code(tmp_path):
    assert basic(n_latent=9).fit_transform(GOOD).shape == (30, 9)


def large_batch(tmp_path):
    model = basic(batch_size=10**6).fit(GOOD)
    np.testing.assert_array_equal(model.transform(GOOD), basic(batch_size=32).fit(GOOD).transform(GOOD))


def large_whole_numbers(tmp_path):
    rows = MAX_ABS_SCALED - 2**60
    near, far = basic().fit_transform(rows), basic().fit_transform(rows + 2**40)
    np.testing.assert_allclose(near, far, atol=1e-5)


def other_order(tmp_path):
    pa.csv.write_csv(named(GOOD), tmp_path / "rows.csv")
    pa.csv.write_csv(named(GOOD).select(NAMES[::-1]), tmp_path / "reversed.csv")
    model = basic().fit(tmp_path / "rows.csv")
    assert (model.transform(tmp_path / "reversed.csv") == model.transform(tmp_path / "rows.csv")).all()


def joined_by_name(tmp_path):
    pa.csv.write_csv(named(GOOD[:15]), tmp_path / "1.csv")
    pa.csv.write_csv(named(GOOD[15:]).select(NAMES[::-1]), tmp_path / "2.csv")
    np.testing.assert_array_equal(basic().fit_transform(str(tmp_path / "*.csv")), basic().fit_transform(named(GOOD)))


def byte_order_mark(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbfa,b\n" + LINES.encode())
    assert list(basic().fit(tmp_path / "rows.csv").feature_names_in_) == ["a", "b"]


def other_notation(tmp_path):
    text = "größe;b\n" + "".join(f"{i % 7},5;{i % 5}\n" for i in range(30))
    for encoding in ("utf-16", "cp1252"):
        (tmp_path / "rows.csv").write_bytes(text.encode(encoding))
        with pytest.warns(errors.NotationWarning):
            assert list(basic().fit(tmp_path / "rows.csv").feature_names_in_) == ["größe", "b"]


def number_of_the_row(tmp_path):
    with pytest.warns(errors.IdColumnWarning):
        assert list(basic().fit(named(GOOD).append_column("id", [range(30)])).feature_names_in_) == NAMES


def without_names(tmp_path):
    model = basic().fit(named(GOOD))
    with pytest.warns(UserWarning, match="feature names"):
        assert (model.transform(GOOD) == model.transform(named(GOOD))).all()


def sparse_matrix(tmp_path):
    for kind in (scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.coo_matrix):
        assert (basic().fit_transform(kind(GOOD)) == basic().fit_transform(GOOD)).all()


def one_class(tmp_path):
    model = diabolo.AutoencoderClassifier(basic(), max_epochs=1, random_state=0).fit(GOOD, ["yes"] * 30)
    assert set(model.predict(GOOD)) == {"yes"}
    assert (model.predict_proba(GOOD) == 1).all()


def numbers_as_texts(tmp_path):
    assert (basic().fit_transform(GOOD.astype(str)) == basic().fit_transform(GOOD)).all()


def booleans(tmp_path):
    assert (basic().fit_transform(GOOD > 0) == basic().fit_transform((GOOD > 0).astype(float))).all()


ACCEPTED = list(
    zip(
        RESULTS,
        [
            constant_column,
            only_constant_columns,
            unknown_column,
            missing_cells,
            one_column,
            wide_code,
            large_batch,
            large_whole_numbers,
            other_order,
            joined_by_name,
            byte_order_mark,
            other_notation,
            number_of_the_row,
            without_names,
            sparse_matrix,
            one_class,
            numbers_as_texts,
            booleans,
        ],
        strict=True,
    )
)


@pytest.mark.parametrize(("what", "happens"), ACCEPTED, ids=[what for what, _ in ACCEPTED])
def test_what_is_not_refused_does_what_the_page_says(what, happens, tmp_path):
    with warnings.catch_warnings():
        happens(tmp_path)


def test_parquet_files_of_other_orders_are_read_by_name_however_large(tmp_path, monkeypatch):
    """Even if the order is that of the first and of the last, and not of those between."""
    for i, names in enumerate((NAMES, NAMES[::-1], NAMES)):
        pa.parquet.write_table(named(GOOD[10 * i : 10 * i + 10]).select(names), tmp_path / f"{i}.parquet")
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 4 * 4 * 16)
    np.testing.assert_array_equal(blocks.open_store(str(tmp_path)).table().rows, GOOD)


def test_csv_files_of_other_orders_are_read_by_name_however_large(tmp_path, monkeypatch):
    for i, names in enumerate((NAMES, NAMES[::-1])):
        pa.csv.write_csv(named(GOOD[15 * i : 15 * i + 15]).select(names), tmp_path / f"{i}.csv")
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 64)
    np.testing.assert_array_equal(blocks.open_store(str(tmp_path)).table().rows, GOOD)
