"""Rows that need not fit in memory: every way in gives the same rows, each used once per epoch, and none held out."""

import gc
import re
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.base import clone

from diabolo import BasicAutoencoder, SparseAutoencoder, StackedAutoencoder, VariationalAutoencoder
from diabolo.data import blocks as stores
from diabolo.data import readers
from diabolo.data.blocks import ArrayReader, BlockReader, open_store
from diabolo.data.readers import Table
from diabolo.data.scaler import Scaler, ScalerStats
from diabolo.engine import inference, loader
from diabolo.engine.loader import ShuffledLoader, ValidationSplit, prefetch
from diabolo.errors import InvalidData

N, D = 3000, 6
NAMES = tuple(f"c{i}" for i in range(D))
DEEP = StackedAutoencoder(hidden_layer_sizes=(8,), max_epochs=4, batch_size=32, random_state=0)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Thirty kilobytes stand for what does not fit in memory."""
    for room in (stores, loader):
        monkeypatch.setattr(room, "CHUNK_BYTES", 30_000)
    monkeypatch.setattr(stores, "BLOCK_BYTES", 2_000)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(N, 2))
    return (factors @ rng.normal(size=(2, D)) + 0.1 * rng.normal(size=(N, D)) + 5).astype(np.float32)


def as_npy(rows, folder):
    np.save(folder / "rows.npy", rows)
    return folder / "rows.npy"


def as_npy_files(rows, folder):
    for i in range(3):
        np.save(folder / f"{i}.npy", rows[i * 1000 : (i + 1) * 1000])
    return str(folder / "*.npy")


def arrow(rows):
    return pa.table({name: rows[:, i] for i, name in enumerate(NAMES)})


def as_parquet(rows, folder):
    for i in range(3):
        part = arrow(rows[i * 1000 : (i + 1) * 1000])
        pa.parquet.write_table(part, folder / f"{i}.parquet", row_group_size=(90, 120, 300)[i])
    return folder


def as_parquet_of_one_group(rows, folder):
    pa.parquet.write_table(arrow(rows), folder / "rows.parquet")
    return folder / "rows.parquet"


def as_dataset(rows, folder):
    return pa.dataset.dataset(as_parquet(rows, folder))


def as_memory_map(rows, folder):
    return np.load(as_npy(rows, folder), mmap_mode="r")


def as_csv(rows, folder):
    pa.csv.write_csv(arrow(rows), folder / "rows.csv")
    return str(folder / "rows.csv")


def as_csr(rows, folder):
    return csr_matrix(rows)


def as_list(rows, folder):
    return [rows[:500], rows[500:501], rows[501:]]


def as_iterator(rows, folder):
    return (rows[i : i + 700] for i in range(0, N, 700))


WAYS = [as_npy, as_npy_files, as_parquet, as_parquet_of_one_group, as_dataset, as_memory_map, as_csv, as_csr, as_list]
NAMED = (as_parquet, as_parquet_of_one_group, as_dataset, as_csv)


# -- stores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [*WAYS, as_iterator])
def test_every_way_in_gives_the_same_rows(rows, tmp_path, way):
    store = open_store(way(rows, tmp_path))
    assert isinstance(store, BlockReader)
    assert (store.n_rows, store.n_features) == rows.shape
    assert store.names == (NAMES if way in NAMED else None)
    np.testing.assert_allclose(np.concatenate(list(store.iter_chunks())), rows, rtol=1e-6)
    for i in range(len(store.sizes)):
        assert store.block(i).shape == (store.sizes[i], D)
    np.testing.assert_allclose(store.block(2), rows[sum(store.sizes[:2]) :][: store.sizes[2]], rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_small_rows_are_simply_read(rows, tmp_path, way, monkeypatch):
    monkeypatch.setattr(stores, "CHUNK_BYTES", 64 << 20)
    table = open_store(way(rows, tmp_path))
    assert isinstance(table, Table)
    np.testing.assert_allclose(table.rows, rows, rtol=1e-6)


@pytest.mark.parametrize("given", [[[1.0, 2.0], [3.0, 4.0]], np.ones((3, 2)), pa.table({"a": [1.0, 2.0]})])
def test_arrays_in_memory_are_left_to_the_estimator(given):
    assert open_store(given) is None


@pytest.mark.parametrize("at", [(0, 0), (1234, 3), (N - 1, D - 1)])
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_a_number_that_is_none_is_named_with_its_place(rows, tmp_path, at, value):
    broken = rows.astype(np.float64)
    broken[at] = value
    store = open_store(as_npy(broken, tmp_path))
    with pytest.raises(InvalidData, match=re.escape(f"row {at[0] + 1}, column {at[1]} holds {value}")):
        list(store.iter_chunks())


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        ((np.ones((500, 6)), np.ones((3, 5))), r"chunk 2 .*\(3, 5\)"),
        ((np.ones((500, 6)), np.ones(6)), "chunk 2"),
        ((np.full((5, 6), "a"),), "<U1"),
        ((), "rows"),
        ((np.ones((0, 6)),), "rows"),
    ],
)
def test_chunks_that_do_not_fit_are_named(chunks, said):
    with pytest.raises(InvalidData, match=said):
        open_store(iter(chunks))


def test_columns_that_only_the_paths_hold_are_read_as_well(rows, tmp_path):
    for year in (2024, 2025):
        (tmp_path / f"year={year}").mkdir()
        pa.parquet.write_table(arrow(rows[:1500]), tmp_path / f"year={year}" / "rows.parquet", row_group_size=100)
    store = open_store(pa.dataset.dataset(tmp_path, partitioning="hive"))
    assert store.names == (*NAMES, "year")
    np.testing.assert_array_equal(np.concatenate(list(store.iter_chunks()))[:, -1], np.repeat([2024, 2025], 1500))


def test_a_spooled_copy_is_gone_with_its_store(rows):
    store = open_store(as_iterator(rows, None))
    file = Path(store._rows.filename)
    assert file.exists()
    del store
    gc.collect()
    assert not file.parent.exists()


# -- streams ----------------------------------------------------------------------------------------------------------


def stream_of(n_rows, n_blocks_of=7, fraction=0.1, seed=0):
    numbers = np.arange(n_rows, dtype=np.float32)[:, None].repeat(2, 1)
    store = ArrayReader(numbers)
    store.sizes = (n_blocks_of,) * (n_rows // n_blocks_of) + ((n_rows % n_blocks_of,) if n_rows % n_blocks_of else ())
    held_out = ValidationSplit(store, fraction, seed)
    return ShuffledLoader(store, held_out, seed), held_out


def numbers_of(chunks):
    return [np.asarray(chunk.rows)[: chunk.n_rows, 0].astype(int).tolist() for chunk in chunks]


@settings(deadline=None, max_examples=30)
@given(n_rows=st.integers(20, 4000), length=st.integers(1, 40), fraction=st.sampled_from([0.0, 0.1, 0.5]))
def test_each_epoch_has_every_row_once_and_no_row_that_is_held_out(n_rows, length, fraction):
    stores.CHUNK_BYTES = loader.CHUNK_BYTES = 4000
    stream, held_out = stream_of(n_rows, length, fraction)
    apart = np.concatenate([held_out.split(i, stream._store.block(i))[1] for i in range(len(stream._store.sizes))])
    assert len(apart) == held_out.n_rows
    first, second = (numbers_of(stream.chunks(epoch)) for epoch in (1, 2))
    for epoch, chunks in ((1, first), (2, second)):
        seen = sorted(number for chunk in chunks for number in chunk)
        assert seen == sorted(set(range(n_rows)) - set(apart[:, 0].astype(int)))
        assert tuple(map(len, chunks)) == stream.chunk_sizes(epoch)
        assert max(map(len, chunks)) <= stream._room
        assert sum(map(len, chunks)) == stream.n_rows


def test_chunks_are_mixed_anew_in_every_epoch_and_the_same_when_asked_again():
    stream, _ = stream_of(20_000)
    first, again, second = (numbers_of(stream.chunks(epoch)) for epoch in (1, 1, 2))
    assert first == again != second
    assert len(first) > 3
    spread = [np.ptp(chunk) for chunk in first]
    assert min(spread) > 0.8 * 20_000  # each chunk has rows from all over


@pytest.mark.parametrize("start", [0, 1, 3])
def test_an_epoch_can_be_entered_in_its_midst(start):
    stream, _ = stream_of(20_000)
    assert numbers_of(stream.chunks(3, start)) == numbers_of(stream.chunks(3))[start:]


def test_rows_held_out_keep_no_block_in_memory():
    stream, held_out = stream_of(20_000, fraction=0.01)
    blocks = [stream._store.block(i) for i in range(len(stream._store.sizes))]
    assert 0 in {held_out.count(i) for i in range(len(blocks))}
    assert not any(np.shares_memory(held_out.split(i, rows)[1], rows) for i, rows in enumerate(blocks))
    assert all(held_out.split(i, rows)[1].base is None for i, rows in enumerate(blocks))


def test_chunks_are_of_nearly_one_size():
    stream, _ = stream_of(20_000)
    sizes = stream.chunk_sizes()
    assert max(sizes) - min(sizes) <= 2 * 7


# -- reading ahead ----------------------------------------------------------------------------------------------------


def test_items_come_in_order_and_the_next_is_made_meanwhile():
    made = []

    def items():
        for i in range(4):
            made.append(i)
            yield i

    taken = prefetch(items())
    assert next(taken) == 0
    deadline = time.monotonic() + 10
    while len(made) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(made) >= 2
    assert list(taken) == [1, 2, 3]


def test_an_error_comes_out_where_its_item_would():
    def items():
        yield 1
        raise InvalidData("broken")

    taken = prefetch(items())
    assert next(taken) == 1
    with pytest.raises(InvalidData, match="broken"):
        next(taken)


def test_the_thread_ends_when_nobody_asks_any_more():
    taken = prefetch(iter(range(1000)))
    next(taken)
    taken.close()
    deadline = time.monotonic() + 10
    while any(t.name == "diabolo-reader" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(t.name == "diabolo-reader" for t in threading.enumerate())


# -- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["auto", "standard", "minmax", "range", None])
def test_a_scaling_learned_in_pieces_is_that_of_the_whole(rows, kind):
    survey = ScalerStats(kind, "real")
    for start in range(0, N, 170):
        survey.update(rows[start : start + 170])
    whole, pieces = Scaler.fit(kind, rows, "real"), survey.scaler()
    assert pieces.kind == whole.kind
    np.testing.assert_allclose(pieces.offset, whole.offset, rtol=1e-6)
    np.testing.assert_allclose(pieces.scale, whole.scale, rtol=1e-6)


@pytest.mark.parametrize("kind", ["standard", "minmax", "range"])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1.7e6])
def test_rows_of_32_bits_are_scaled_as_well_as_those_of_64(rows, kind, offset):
    single = (rows + offset).astype(np.float32)
    scaler = Scaler.fit(kind, single.astype(np.float64), "real")
    assert scaler.single is not None
    exact = (single.astype(np.float64) - scaler.offset) / scaler.scale
    np.testing.assert_allclose(scaler.apply(single), exact, rtol=4e-7, atol=1e-12)
    np.testing.assert_allclose(scaler.apply(single.astype(np.float64)), exact, rtol=1e-7, atol=1e-12)


def test_a_scaling_that_32_bits_cannot_hold_is_done_in_64():
    single = np.array([[-3e38], [3e38], [0.0]], np.float32)
    scaler = Scaler.fit("range", single.astype(np.float64), "real")
    assert scaler.single is None
    np.testing.assert_allclose(scaler.apply(single), [[0.0], [1.0], [0.5]])


@pytest.mark.parametrize("n", [1, 9, 300])
def test_the_program_scales_rows_of_32_bits_as_the_host_does(rows, n):
    single = rows.astype(np.float32) + 1000
    model = clone(DEEP).fit(single)
    scaled = inference.map_rows(inference.code, model.model_, model.scaler_.apply(single[:n]))
    np.testing.assert_allclose(model.transform(single[:n]), scaled, rtol=1e-5, atol=1e-6)
    assert model.transform(single[:n]).dtype == np.float32
    np.testing.assert_allclose(model.transform(single[:n].astype(np.float64)), scaled, rtol=1e-4, atol=1e-5)


# -- estimators -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_an_estimator_takes_it(rows, tmp_path, way):
    whole, model = clone(DEEP).fit(rows), clone(DEEP)
    model.fit(way(rows, tmp_path))
    assert model.n_samples_ == N
    assert model.n_features_in_ == D
    assert hasattr(model, "feature_names_in_") == (way in NAMED)
    assert model.history_["loss"][-1] == pytest.approx(whole.history_["loss"][-1], rel=0.15)
    given = arrow(rows) if way in NAMED else rows
    again = way(rows, tmp_path)
    np.testing.assert_allclose(model.transform(again), model.transform(given), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.reconstruct(again), model.reconstruct(given), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.score_samples(again), model.score_samples(given), rtol=1e-4, atol=1e-4)
    assert model.score(again) == pytest.approx(model.score(given), rel=1e-4)


def test_the_loss_reached_is_that_of_training_in_memory(rows, tmp_path):
    """Within the spread of seeds."""
    longer = {"max_epochs": 15}
    inside = [clone(DEEP).set_params(random_state=s, **longer).fit(rows).score(rows) for s in range(4)]
    path = as_npy(rows, tmp_path)
    outside = [clone(DEEP).set_params(random_state=s, **longer).fit(path).score(rows) for s in range(4)]
    spread = max(np.ptp(inside), np.ptp(outside), 0.05)
    assert abs(np.mean(inside) - np.mean(outside)) < spread


@pytest.mark.parametrize(
    "estimator",
    [
        StackedAutoencoder(hidden_layer_sizes=(8, 4), pretrain="layerwise", pretrain_epochs=2, max_epochs=2),
        SparseAutoencoder(n_hidden=8, max_epochs=2),
        VariationalAutoencoder(hidden_layer_sizes=(8,), max_epochs=2),
        StackedAutoencoder(hidden_layer_sizes=(8,), max_epochs=2, validation_fraction=None),
    ],
    ids=["layer by layer", "sparse", "variational", "nothing held out"],
)
def test_every_kind_of_estimator_does(rows, tmp_path, estimator):
    path, model = as_npy(rows, tmp_path), clone(estimator).set_params(random_state=0)
    one, other = clone(model).fit(path), clone(model).fit(path)
    np.testing.assert_array_equal(one.transform(rows), other.transform(rows))
    assert np.isfinite(one.score(path))
    if isinstance(one, SparseAutoencoder):
        np.testing.assert_allclose(one.mean_activation_, one.transform(rows).mean(axis=0), atol=0.02)


def test_noise_does_not_repeat_from_span_to_span(rows, tmp_path):
    from diabolo import DenoisingAutoencoder

    model = DenoisingAutoencoder(hidden_layer_sizes=(4,), max_epochs=1, random_state=0).fit(rows)
    np.testing.assert_array_equal(model.corrupt(as_npy(rows, tmp_path))[:500], model.corrupt(rows)[:500])
    noise = model.corrupt(as_npy(rows, tmp_path)) - rows
    assert len(np.unique(noise[:, 0])) > 0.9 * N


def test_a_stopped_training_on_chunks_goes_on_to_the_bit(rows, tmp_path):
    from helpers import same_bits, stopped

    path = as_npy(rows, tmp_path)
    whole = clone(DEEP).fit(path)
    n_chunks = len(ShuffledLoader(open_store(path), ValidationSplit(open_store(path), 0.1, 0), 0).chunk_sizes())
    assert n_chunks > 2
    for n in (1, n_chunks + 1, 2 * n_chunks - 1):  # in the midst of epochs, and between them
        stopped(DEEP, path, tmp_path / f"kept-{n}", n)
        assert same_bits(clone(DEEP).fit(path, checkpoint_dir=tmp_path / f"kept-{n}", resume=True), whole)


def test_a_plan_is_printed_before_the_first_row_is_learned_from(rows, tmp_path, capsys, monkeypatch):
    real, lines = ScalerStats.update, []

    def see(survey, some):
        lines.extend(capsys.readouterr().err.splitlines())
        real(survey, some)

    monkeypatch.setattr(ScalerStats, "update", see)
    clone(DEEP).set_params(verbose=1).fit(as_npy(rows, tmp_path))
    (line,) = lines
    assert "2,700 rows × 6 columns in 3 chunks" in line
    assert "MB on the device, 4 epochs: about" in line
    clone(DEEP).fit(as_npy(rows, tmp_path))
    assert capsys.readouterr().err == ""


def test_a_terminal_sees_how_far_the_reading_is(rows, tmp_path, monkeypatch):
    from diabolo.engine.progress import Bar
    from helpers import Terminal

    shown, real = [], Bar.show

    def show(bar, done, *text):
        shown.append((bar._label, done / bar._total))
        real(bar, done, *text)

    monkeypatch.setattr(Bar, "show", show)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", Terminal())
    model = clone(DEEP).set_params(verbose=1).fit(as_npy(rows, tmp_path))
    in_fit = [share for label, share in shown if label == "StackedAutoencoder reading"]
    assert in_fit == sorted(in_fit)
    assert in_fit[-1] == 1
    shown.clear()
    model.transform(as_npy(rows, tmp_path))
    assert shown[-1] == ("StackedAutoencoder reading", 1)


def test_a_sparse_matrix_is_never_dense_as_a_whole(rows, monkeypatch):
    import scipy.sparse

    real, largest = scipy.sparse.csr_matrix.toarray, [0]

    def toarray(self, *args, **kwargs):
        largest[0] = max(largest[0], self.shape[0])
        return real(self, *args, **kwargs)

    monkeypatch.setattr(scipy.sparse.csr_matrix, "toarray", toarray)
    clone(DEEP).fit(csr_matrix(rows)).transform(csr_matrix(rows))
    assert 0 < largest[0] < N / 10


def test_other_columns_are_refused(rows, tmp_path):
    model = clone(DEEP).fit(as_parquet(rows, tmp_path))
    pa.parquet.write_table(arrow(rows).drop_columns(["c2"]), tmp_path / "other.parquet", row_group_size=100)
    with pytest.raises(InvalidData, match="c2"):
        model.transform(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="5 features"):
        clone(DEEP).fit(rows).transform(csr_matrix(rows[:, :5]))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Sixty small colour images, as a camera's folder has them."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    ramps = np.random.default_rng(3).integers(0, 200, (60, 1, 1, 3)) + np.arange(48).reshape(8, 6, 1)
    for i, one in enumerate(ramps.astype(np.uint8)):
        Image.fromarray(one).save(folder / f"img {i:03}.png")
    return folder


def test_a_folder_of_images_is_read_a_few_at_a_time(pictures):
    whole = readers.read(pictures)
    store = open_store(str(pictures))
    assert isinstance(store, stores.ImageReader)
    assert store.sizes == (3,) * 20
    assert store.images.shape == (8, 6, 3)
    np.testing.assert_array_equal(np.concatenate(list(store.iter_chunks())), whole.rows)
    fitted = BasicAutoencoder(n_latent=3, max_epochs=3, scaling=None, random_state=0).fit(pictures)
    assert fitted.image_shape_ == (8, 6, 3)
    np.testing.assert_allclose(fitted.transform(pictures), fitted.transform(whole.rows), rtol=1e-5, atol=1e-6)
