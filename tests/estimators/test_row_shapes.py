"""Rows that are series or images, as an array with more than two axes: what goes in comes back in its shape."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

import diabolo
from diabolo import AnomalyDetector, Autoencoder, BasicAutoencoder, VariationalAutoencoder, parts, sweep
from diabolo.errors import InvalidData

FEW = {"max_epochs": 2, "random_state": 0}


def sines(n, length=24, seed=0):
    """Two channels of unequal units: a sine and a cosine of random phase and amplitude, with noise."""
    rng = np.random.default_rng(seed)
    phase, amplitude = rng.uniform(0, 2 * np.pi, (n, 1)), rng.uniform(0.5, 2, (n, 1))
    time = np.linspace(0, 4 * np.pi, length) + phase
    waves = np.stack([amplitude * np.sin(time), 100 * amplitude * np.cos(time)], axis=-1)
    return waves + [0.05, 5] * rng.normal(size=waves.shape)


X = sines(32)
FLAT = X.reshape(32, -1)
NETWORKS = {
    "dense": parts.SkipMLP((8,)),
    "convolutional": parts.Convolutional((24, 2), (4, 8)),
    "recurrent": parts.GRUEncoder((24, 2), 8),
}


def vae(name):
    return Autoencoder(
        encoder=NETWORKS[name],
        latent=parts.DiagonalGaussian(2),
        likelihood="learned_gaussian",
        objective="elbo",
        **FEW,
    )


@pytest.fixture(scope="module", params=NETWORKS)
def fitted(request):
    return vae(request.param).fit(X)


def test_results_have_the_shape_of_the_input(fitted):
    codes = fitted.transform(X)
    assert codes.shape == (32, 2)
    assert fitted.score_samples(X).shape == (32,)
    assert fitted.sample(3, random_state=0).shape == (3, 24, 2)
    assert fitted.interpolate(X[:1], X[1:2], 4).shape == (4, 24, 2)
    np.testing.assert_array_equal(fitted.inverse_transform(codes), fitted.reconstruct(X))
    assert fitted.corrupt(X).shape == X.shape


def test_flat_rows_give_the_same_numbers_in_their_own_shape(fitted):
    np.testing.assert_array_equal(fitted.transform(FLAT), fitted.transform(X))
    np.testing.assert_array_equal(fitted.score_samples(FLAT), fitted.score_samples(X))
    np.testing.assert_array_equal(fitted.reconstruct(FLAT), fitted.reconstruct(X).reshape(32, -1))


def test_a_fit_to_flat_rows_has_the_same_weights(fitted):
    again = diabolo.Autoencoder(**fitted.get_params(deep=False)).fit(FLAT)
    np.testing.assert_array_equal(again.transform(FLAT), fitted.transform(X))
    with pytest.raises(InvalidData, match=r"\(24, 2\).*\(48,\)"):
        again.transform(X)


def test_a_saved_model_remembers_the_shape(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    again = diabolo.load(tmp_path / "m")
    np.testing.assert_array_equal(again.reconstruct(X), fitted.reconstruct(X))
    np.testing.assert_array_equal(again.sample(2, random_state=0), fitted.sample(2, random_state=0))
    assert again.report(X).findings is not None


@pytest.mark.parametrize("name", ["convolutional", "recurrent"])
def test_a_resumed_training_is_the_unbroken_one(name, tmp_path):
    whole = vae(name).set_params(max_epochs=4).fit(X)

    def stop(epoch, record):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vae(name).set_params(max_epochs=4).fit(X, checkpoint_dir=tmp_path, callback=stop)
    resumed = vae(name).set_params(max_epochs=4).fit(X, checkpoint_dir=tmp_path, resume=True)
    np.testing.assert_array_equal(resumed.reconstruct(X), whole.reconstruct(X))


def test_validation_rows_and_sweeps_have_a_shape_as_well():
    assert BasicAutoencoder(n_latent=1, **FEW).fit(X, X_val=X[:9]).reconstruct(X[:3]).shape == (3, 24, 2)
    found = sweep(BasicAutoencoder(n_latent=1, **FEW), {"learning_rate": [0.01, 0.02]}, X, X_val=X[:9])
    assert found.best_estimator_.reconstruct(X[:3]).shape == (3, 24, 2)


def test_missing_cells_are_filled_in_the_shape():
    holed = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    filled = VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(8,), **FEW).fit(holed).impute(holed)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[~np.isnan(holed)], X[~np.isnan(holed)])


def test_each_channel_has_its_own_unit():
    """The channels' ratio of 100 leaves the scaled rows alike; a shape of images has one unit."""
    few = {"max_epochs": 0, "validation_fraction": None, "random_state": 0}
    by_channel = Autoencoder(encoder=NETWORKS["convolutional"], **few).fit(X).scaler_
    assert len(np.unique(by_channel.scale)) == 2
    np.testing.assert_allclose(by_channel.apply(FLAT).reshape(X.shape).std(axis=(0, 1)), 1, rtol=0.05)
    of_images = Autoencoder(encoder=parts.Convolutional((6, 4, 2), (4,)), **few).fit(X.reshape(32, 6, 4, 2))
    assert len(np.unique(of_images.scaler_.scale)) == 1


def test_rows_of_another_shape_are_refused():
    model = BasicAutoencoder(n_latent=1, **FEW).fit(X)
    for wrong in (X.swapaxes(1, 2), X[:, :12], X[..., None]):
        with pytest.raises(InvalidData, match=r"to rows of shape \(24, 2\)"):
            model.transform(wrong)
    with pytest.raises(InvalidData, match="dim 3"):
        AnomalyDetector("single").fit(X)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convolutional", "recurrent"])
def test_series_of_random_frequency_are_described_better_than_by_pca(name):
    """Three numbers say all; their sines are on a curved surface."""
    rng = np.random.default_rng(0)
    phase, rate = rng.uniform(0, 2 * np.pi, (1000, 1)), rng.uniform(1, 2.5, (1000, 1))
    rows = np.sin(rate * np.linspace(0, 2 * np.pi, 32) + phase)[..., None] + 0.05 * rng.normal(size=(1000, 32, 1))
    train, test = rows[:800], rows[800:]
    encoder = {"convolutional": parts.Convolutional((32, 1)), "recurrent": parts.GRUEncoder((32, 1), 32)}[name]
    model = Autoencoder(encoder=encoder, latent=parts.Deterministic(3), max_epochs=100, random_state=0).fit(train)

    def kept(found):
        return 1 - np.square(test - found).sum() / np.square(test - train.mean(axis=0)).sum()

    pca = PCA(3).fit(train[..., 0])
    linear = pca.inverse_transform(pca.transform(test[..., 0]))[..., None]
    assert kept(model.reconstruct(test)) > kept(linear) + 0.05
