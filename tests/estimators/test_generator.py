"""New rows: of the same columns and dependences as known ones, and none of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp, norm, rankdata
from sklearn.datasets import load_wine
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.estimator_checks import parametrize_with_checks

import diabolo
from diabolo import AutoencoderGenerator, BasicAutoencoder, VariationalAutoencoder
from diabolo.data import blocks
from diabolo.errors import InvalidData
from diabolo.estimators.trainable import stored_of
from diabolo.persistence.serialization import from_artifact, to_artifact

UNTRAINED = VariationalAutoencoder(n_latent=2, max_epochs=0, validation_fraction=None)
"""What holds for any network holds for one that has learned nothing, and such a one is made in no time."""
DECIMALS = (0, 2, None, 1, 0)
SMALL = VariationalAutoencoder(n_latent=3, max_epochs=40, learning_rate=1e-2, validation_fraction=None)


def of_two_kinds(n=600, seed=0):
    """Two heaps far from each other; a column with a long tail, one that is mostly 0, and one of whole numbers."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=n)
    x = 10 * kind + rng.normal(size=n)
    tail = np.exp(2 * rng.normal(size=n))
    mostly = np.where(rng.random(n) < 0.7, 0.0, rng.uniform(1, 2, n))
    return np.stack([x, -x + 0.5 * rng.normal(size=n), tail, mostly, rng.poisson(3, n)], axis=1)


@pytest.fixture(scope="module")
def fitted():
    return AutoencoderGenerator(SMALL, random_state=0).fit(of_two_kinds())


@pytest.fixture(scope="module")
def new(fitted):
    return fitted.sample(4000, random_state=0)


@pytest.fixture(scope="module")
def wine():
    """A table with words, yes and no, dates, and empty cells."""
    table = load_wine(as_frame=True).data.iloc[:, :4].copy()
    table["origin"] = np.array(["north", "south", "west"])[load_wine().target]
    table["sweet"] = table["alcohol"] > 13
    table["bottled"] = pd.Timestamp("2001-01-01") + pd.to_timedelta(np.round(table["ash"] * 100), unit="D")
    table["sold"] = np.random.default_rng(0).negative_binomial(1, 0.05, len(table))
    table.loc[3:20, "ash"] = np.nan
    return table


@pytest.fixture
def few_steps(monkeypatch):
    """Of the network that a generator chooses itself."""
    monkeypatch.setattr("diabolo.estimators.generator._STEPS", 60)
    monkeypatch.setattr("diabolo.estimators.generator._LEAST_EPOCHS", 1)


@pytest.fixture(scope="module")
def of_wine(wine):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diabolo.estimators.generator._STEPS", 300)
        patch.setattr("diabolo.estimators.generator._LEAST_EPOCHS", 1)
        return AutoencoderGenerator(random_state=0).fit(wine)


@pytest.mark.slow
@parametrize_with_checks([AutoencoderGenerator(UNTRAINED)])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


@pytest.mark.parametrize("column", range(5))
def test_each_column_is_distributed_as_the_known_one_whatever_its_kind(column, new):
    known = of_two_kinds()
    assert ks_2samp(new[:, column], known[:, column]).statistic < 0.04
    assert known[:, column].min() <= new[:, column].min()
    assert new[:, column].max() <= known[:, column].max()


def test_even_a_network_that_has_learned_nothing_keeps_to_the_columns():
    rows = AutoencoderGenerator(UNTRAINED, random_state=0).fit(of_two_kinds()).sample(4000, random_state=0)
    assert max(ks_2samp(one, other).statistic for one, other in zip(rows.T, of_two_kinds().T, strict=True)) < 0.06


def test_values_that_occur_often_are_the_same_values(new):
    assert (new[:, 3] == 0).mean() == pytest.approx((of_two_kinds()[:, 3] == 0).mean(), abs=0.03)
    np.testing.assert_array_equal(new[:, 4], np.rint(new[:, 4]))


def test_values_have_as_many_decimals_as_known_ones():
    rounded = np.stack(
        [c if k is None else c.round(k) for c, k in zip(of_two_kinds().T, DECIMALS, strict=True)], axis=1
    )
    rows = AutoencoderGenerator(UNTRAINED, random_state=0).fit(rounded).sample(50)
    for column, n_decimals in enumerate(DECIMALS):
        same = rows[:, column] == (rows[:, column].round(4 if n_decimals is None else n_decimals))
        assert same.all() if n_decimals is not None else not same.all()


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1e6, 1e12])
def test_columns_of_any_unit_are_generated(unit):
    rows = AutoencoderGenerator(UNTRAINED, random_state=0).fit(of_two_kinds() * unit).sample(50, random_state=0)
    usual = AutoencoderGenerator(UNTRAINED, random_state=0).fit(of_two_kinds()).sample(50, random_state=0)
    np.testing.assert_allclose(rows, usual * unit, rtol=1e-2, atol=1e-2 * unit)


def test_columns_depend_on_each_other_as_known_ones_do(new):
    both = [pd.DataFrame(rows).corr("spearman").to_numpy() for rows in (new, of_two_kinds())]
    assert both[1][0, 1] < -0.95
    np.testing.assert_allclose(*both, atol=0.12)


def test_between_two_heaps_there_is_nothing(new):
    assert ((new[:, 0] > 3.5) & (new[:, 0] < 6.5)).mean() < 0.01
    assert (np.abs(new[:, 0] + new[:, 1]) > 4).mean() < 0.03


def test_new_rows_are_as_far_from_known_ones_as_others_of_their_kind(new):
    known, spread = of_two_kinds(), of_two_kinds().std(axis=0)
    near = NearestNeighbors(n_neighbors=1).fit(known / spread)
    mine, others = (np.median(near.kneighbors(rows / spread)[0]) for rows in (new[:600], of_two_kinds(seed=1)))
    assert 0.7 < mine / others < 1.5


def test_what_is_given_is_given_and_the_rest_goes_with_it(fitted):
    low, high = (fitted.sample(500, given={0: value}, random_state=0) for value in (0.0, 10.0))
    assert (low[:, 0] == 0).all()
    assert (high[:, 0] == 10).all()
    assert np.median(low[:, 1]) == pytest.approx(0, abs=0.7)
    assert np.median(high[:, 1]) == pytest.approx(-10, abs=0.7)


def test_without_noise_rows_vary_less_but_lie_where_known_ones_do(fitted):
    means = fitted.sample(2000, noise=False, random_state=0)
    apart = [np.abs(rows[:, 0] + rows[:, 1]).mean() for rows in (means, fitted.sample(2000, random_state=0))]
    assert apart[0] < apart[1]
    assert means[:, 2].min() >= of_two_kinds()[:, 2].min()


def test_a_table_comes_back_in_its_own_words(wine, of_wine):
    rows = of_wine.sample(500, random_state=0)
    assert list(rows.columns) == list(wine.columns)
    assert set(rows["origin"]) == set(wine["origin"])
    assert rows["sweet"].dtype == bool
    assert rows["sold"].dtype == wine["sold"].dtype
    assert rows["bottled"].between(wine["bottled"].min(), wine["bottled"].max()).all()
    assert (rows["bottled"] == rows["bottled"].dt.normalize()).all()
    assert not rows.isna().any().any()
    assert rows.loc[rows["sweet"], "alcohol"].mean() > rows.loc[~rows["sweet"], "alcohol"].mean() + 0.3


def test_a_table_is_asked_for_by_the_names_of_its_columns(wine, of_wine):
    rows = of_wine.sample(300, given={"origin": "north", "alcohol": 13.9}, random_state=0)
    assert (rows["origin"] == "north").all()
    assert (rows["alcohol"] == 13.9).all()
    assert rows["sweet"].mean() > 0.8
    with pytest.raises(InvalidData, match="east"):
        of_wine.sample(given={"origin": "east"})
    with pytest.raises(ValueError, match="colour"):
        of_wine.sample(given={"colour": 1})


def test_the_rows_of_a_table_may_be_counts_alone():
    table = pd.DataFrame({"a": np.random.default_rng(0).negative_binomial(1, 0.05, 300), "b": ["x", "y", "z"] * 100})
    rows = AutoencoderGenerator(UNTRAINED, random_state=0).fit(table).sample(50)
    assert rows["a"].dtype == table["a"].dtype
    assert rows["a"].between(0, table["a"].max()).all()


def test_a_column_without_a_value_is_made_of_zeros():
    rows = np.random.default_rng(0).normal(size=(40, 3))
    rows[:, 1] = np.nan
    found = AutoencoderGenerator(UNTRAINED, random_state=0).fit(rows).sample(5)
    assert (found[:, 1] == 0).all()
    assert np.isfinite(found).all()


def test_one_seed_gives_the_same_bits_and_another_does_not():
    network = VariationalAutoencoder(n_latent=2, max_epochs=3, validation_fraction=None)
    one, again = (AutoencoderGenerator(network, random_state=0).fit(of_two_kinds(100)) for _ in range(2))
    np.testing.assert_array_equal(again.sample(9, random_state=1), one.sample(9, random_state=1))
    assert (again.sample(9, random_state=1) != one.sample(9, random_state=2)).any()


@pytest.mark.parametrize("which", ["fitted", "of_wine"])
def test_a_saved_generator_makes_the_same_to_the_bit(which, request, tmp_path):
    generator = request.getfixturevalue(which)
    generator.save(tmp_path / "model")
    found, known = (one.sample(20, random_state=3) for one in (diabolo.load(tmp_path / "model"), generator))
    assert found.equals(known) if which == "of_wine" else (found == known).all()


def test_rows_larger_than_memory_are_drawn_from(monkeypatch, tmp_path):
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 1 << 14)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 11)
    monkeypatch.setattr("diabolo.estimators.ensemble.CHUNK_BYTES", 1 << 14)
    np.save(tmp_path / "rows.npy", of_two_kinds(3000).astype(np.float32))
    generator = AutoencoderGenerator(UNTRAINED, random_state=0).fit(str(tmp_path / "rows.npy"))
    assert generator.n_samples_ == 3000
    assert ks_2samp(generator.sample(1000, random_state=0)[:, 2], of_two_kinds(3000)[:, 2]).statistic < 0.1


# -- relations, keys, large counts, copies ----------------------------------------------------------------------------


def made(table, n=1000, network=SMALL, **given):
    """New rows of a generator fitted to a table."""
    found = AutoencoderGenerator(network, random_state=0, **given).fit(table).sample(n, random_state=0)
    return found if isinstance(found, pd.DataFrame) else pd.DataFrame(found)


@pytest.mark.parametrize("unit", [1e-12, 1.0, pytest.param(1e9, marks=pytest.mark.slow)])
def test_sums_are_sums_and_their_terms_stay_independent(unit):
    rng = np.random.default_rng(1)
    a, b = rng.gamma(2, 2, 500), rng.normal(0, 3, 500)
    new = made(unit * np.stack([a, b, a + b], axis=1)).to_numpy()
    np.testing.assert_allclose(new[:, 0] + new[:, 1], new[:, 2], rtol=1e-6, atol=1e-6 * unit)
    assert abs(np.corrcoef(new.T)[0, 1] - np.corrcoef(a, b)[0, 1]) < 0.1
    assert (np.ptp(new, axis=0) > unit).all()


def test_sums_of_integers_and_rounded_sums_are_exact():
    rng = np.random.default_rng(2)
    net, tax, fee = rng.integers(1, 200, 600), rng.integers(0, 50, 600), rng.gamma(2, 2, 600)
    table = pd.DataFrame({"net": net, "tax": tax, "total": net + tax, "fee": fee, "all": (net + tax + fee).round(1)})
    new = made(table, network=UNTRAINED)
    assert (new["net"] + new["tax"] == new["total"]).all()
    assert (new["all"] - new["total"] - new["fee"]).abs().max() < 0.06
    assert new["total"].between(table["total"].min(), table["total"].max()).all()


def test_given_terms_have_their_sum():
    rng = np.random.default_rng(1)
    a, b = rng.gamma(2, 2, 500), rng.normal(0, 3, 500)
    generator = AutoencoderGenerator(UNTRAINED, random_state=0).fit(np.stack([a, b, a + b], axis=1))
    np.testing.assert_allclose(generator.sample(20, given={0: 3.0, 1: 1.0}, random_state=0)[:, 2], 4.0)
    new = generator.sample(200, given={2: 5.0}, random_state=0)
    np.testing.assert_allclose(new[:, 0] + new[:, 1], 5.0)
    assert new[:, 0].std() > 0.5


@pytest.mark.parametrize(
    ("curve", "error"),
    [
        (lambda t: (t, t**2), lambda x, y: y - x**2),
        (lambda t: (np.cos(np.pi * t), np.sin(np.pi * t)), lambda x, y: np.hypot(x, y) - 1),
    ],
    ids=["parabola", "ring"],
)
def test_curves_stay_curves_whatever_the_network_has_learned(curve, error):
    x, y = curve(np.random.default_rng(3).uniform(-1, 1, 600))
    new = made(np.stack([x, y], axis=1), network=UNTRAINED).to_numpy()
    assert np.abs(error(*new.T)).mean() < 0.1 * y.std()


@pytest.mark.parametrize("seed", range(3))
def test_dependence_is_as_good_as_a_copula_s_whatever_the_network_has_learned(seed):
    rng = np.random.default_rng(seed)
    rows = np.exp(rng.normal(size=(1500, 3)) @ rng.normal(size=(3, 6)) / 2 + 0.3 * rng.normal(size=(1500, 6)))
    known, apart = rows[:500], rows[500:]
    normal = norm.ppf((rankdata(known, axis=0) - 0.5) / len(known))
    drawn = norm.cdf(rng.multivariate_normal(np.zeros(6), np.corrcoef(normal.T), 1000))
    new = made(known, network=UNTRAINED).to_numpy()
    real, ours, theirs = (np.corrcoef(rankdata(some, axis=0).T) for some in (apart, new, drawn))
    assert np.abs(ours - real).mean() < np.abs(theirs - real).mean() + 0.02


@pytest.fixture(scope="module")
def planted():
    """Towns with their levels, a county that follows from the town, and a slope that depends on the kind."""
    rng, n = np.random.default_rng(0), 800
    towns = pd.Series(rng.choice(["a", "b", "c", "d"], n, p=[0.45, 0.3, 0.2, 0.05]))
    level, kind, x = towns.map({"a": 0, "b": 1, "c": 2, "d": 4}), rng.choice(["up", "down"], n), rng.normal(size=n)
    return pd.DataFrame({
        "town": towns,
        "county": towns.map({"a": "north", "b": "north", "c": "south", "d": "south"}),
        "kind": kind,
        "price": np.exp(level / 2 + 0.2 * rng.normal(size=n)),
        "sold": rng.poisson(2 + 4 * level),
        "x": x,
        "y": np.where(kind == "up", x, -x) + 0.3 * rng.normal(size=n),
    })  # fmt: skip


@pytest.fixture(scope="module")
def new_of_planted(planted):
    return made(planted, 4000, UNTRAINED)


@pytest.mark.parametrize("number", ["price", "sold"])
def test_the_mean_of_a_number_in_each_category_is_that_of_known_rows(number, planted, new_of_planted):
    real, new = (rows.groupby("town")[number].mean() for rows in (planted, new_of_planted))
    np.testing.assert_allclose(new, real, atol=0.05 * np.ptp(real))


def test_the_share_of_variance_between_categories_is_that_of_known_rows(planted, new_of_planted):
    def share(rows, number):
        within = rows.groupby("town")[number].transform("mean")
        return np.log(rows[number]).groupby(rows["town"]).mean().std() / np.log(rows[number] / within).std()

    assert share(new_of_planted, "price") == pytest.approx(share(planted, "price"), rel=0.15)


def test_a_category_that_follows_from_another_follows(planted, new_of_planted):
    pairs = [set(map(tuple, rows[["town", "county"]].to_numpy())) for rows in (planted, new_of_planted)]
    assert pairs[0] == pairs[1]
    odds = [rows["town"].value_counts(normalize=True).sort_index() for rows in (planted, new_of_planted)]
    np.testing.assert_allclose(*odds, atol=3 * np.sqrt(0.25 / 4000))


def test_a_slope_that_depends_on_a_category_keeps_its_sign_and_most_of_its_size(new_of_planted):
    up, down = (np.polyfit(*new_of_planted.loc[new_of_planted["kind"] == kind, ["x", "y"]].T.to_numpy(), 1)[0]
                for kind in ("up", "down"))  # fmt: skip
    assert up > 0.75
    assert down < -0.75


def test_a_given_category_has_the_mean_of_its_rows(planted):
    generator = AutoencoderGenerator(UNTRAINED, random_state=0).fit(planted)
    dear = planted[planted["town"] == "d"]
    new = generator.sample(500, given={"town": "d"}, random_state=0)
    assert new["price"].mean() == pytest.approx(dear["price"].mean(), rel=0.1)
    new = generator.sample(500, given={"town": "d", "price": float(dear["price"].median())}, random_state=0)
    assert new["sold"].mean() == pytest.approx(dear["sold"].mean(), rel=0.1)


def test_keys_are_unique():
    rng = np.random.default_rng(0)
    keys = rng.permutation(np.arange(5, 305))
    table = pd.DataFrame({"key": keys, "x": rng.normal(size=300), "kind": rng.choice(["a", "b"], 300)})
    for n in (50, 300, 900):
        new = made(table, n, UNTRAINED, schema={"key": "number"})
        assert new["key"].is_unique
        assert new["key"].dtype == table["key"].dtype
    assert len(np.unique(made(table[["key", "x"]].to_numpy(float), 300, UNTRAINED)[0])) == 300


def test_counts_beyond_32_bits_come_out():
    counts = np.random.default_rng(0).negative_binomial(1, 1e-10, 300)
    assert counts.max() > 2**31
    new = made(pd.DataFrame({"n": counts, "kind": ["a", "b", "c"] * 100}), network=UNTRAINED)
    assert ks_2samp(new["n"], counts).statistic < 0.1


@pytest.mark.parametrize("n_values", [2, 50])
def test_rows_of_categories_alone_keep_their_dependence_and_repeat_no_single_row(n_values):
    rng = np.random.default_rng(0)
    a = rng.integers(0, n_values, 400)
    table = pd.DataFrame({"a": a, "b": (a + (rng.random(400) < 0.1)) % n_values, "c": rng.integers(0, n_values, 400)})
    table = table.astype(str).map(lambda cell: f"v{cell}")
    new = made(table, network=VariationalAutoencoder(n_latent=2, max_epochs=0, scaling=None))
    assert ((new["a"] == new["b"]).mean() - (table["a"] == table["b"]).mean()) > -0.15
    single = table[~table.duplicated(keep=False)]
    assert len(new.merge(single, on=["a", "b", "c"])) <= 0.01 * len(new) if n_values == 50 else len(single) == 0


def test_a_default_generator_learns_a_table_of_categories_alone(few_steps):
    table = pd.DataFrame({"a": ["x", "y", "z"] * 40, "b": [True, False] * 60})
    assert set(made(table, network="auto")["a"]) == {"x", "y", "z"}


def test_a_generator_saved_with_a_mixture_of_codes_loads(fitted):
    stored, k = stored_of(fitted), fitted.estimators_[0][0].predictor_.n_codes
    kept = {name: stored.arrays[name] for name in ("_known", "_found")}
    mixture = {"weights_": np.ones(1), "means_": np.zeros((1, k)), "covariances_": np.eye(k)[None]}
    manifest, arrays = to_artifact(replace(stored, arrays=kept | mixture))
    classes = {cls.__name__: cls for cls in (AutoencoderGenerator, VariationalAutoencoder)}
    found = from_artifact(classes, manifest, arrays, lambda one, content: one._restore(content))
    assert ks_2samp(found.sample(500, random_state=0)[:, 0], of_two_kinds()[:, 0]).statistic < 0.15


def test_a_generator_saved_without_effects_draws_numbers_and_labels_of_a_group_independently(of_wine):
    stored = stored_of(of_wine)
    kept = {name: array for name, array in stored.arrays.items() if name != "effects_"}
    manifest, arrays = to_artifact(replace(stored, arrays=kept))
    classes = {cls.__name__: cls for cls in (AutoencoderGenerator, VariationalAutoencoder)}
    found = from_artifact(classes, manifest, arrays, lambda one, content: one._restore(content))
    assert not found.effects_.any()
    assert of_wine.effects_.any()
    assert len(found.sample(20, given={"origin": "west"}, random_state=0)) == 20


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_as_many_rows_as_none_are_refused(n, fitted):
    with pytest.raises(ValueError, match="n_samples"):
        fitted.sample(n)


def test_a_network_without_a_posterior_is_refused():
    with pytest.raises(ValueError, match="VariationalAutoencoder"):
        AutoencoderGenerator(BasicAutoencoder()).fit(of_two_kinds(50))


def test_the_command_makes_rows(tmp_path, wine, run, few_steps):
    wine.to_csv(tmp_path / "wine.csv", index=False)
    status, _, err = run("fit", tmp_path / "wine.csv", "-m", "generator", "-o", tmp_path / "run")
    assert status == 0, err
    status, _, err = run("sample", tmp_path / "run", "-n", 7, "-g", "origin=west", "-o", tmp_path / "new.csv")
    assert status == 0, err
    new = pd.read_csv(tmp_path / "new.csv")
    assert list(new.columns) == list(wine.columns)
    assert (new["origin"] == "west").all()
    for verb in ("score", "detect", "transform", "reconstruct", "denoise", "impute"):
        status, _, err = run(verb, tmp_path / "run", tmp_path / "wine.csv")
        assert (status, "diabolo sample" in err) == (2, True)
    assert "AutoencoderGenerator" in run("info", tmp_path / "run")[1]
