"""The manifest's form is declared once: what is not of it is refused, whatever is wrong with it."""

import copy
import json

import numpy as np
import pytest

import diabolo
from diabolo.errors import ArtifactError
from diabolo.persistence import files, manifest

ROWS = np.random.default_rng(0).normal(size=(40, 3))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    diabolo.BasicAutoencoder(n_latent=2, random_state=0).fit(ROWS).save(path)
    return path, json.loads((path / "model.json").read_text())


def places(value, at=()):
    """The path of every value within."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


def changed(told, at, value):
    told = copy.deepcopy(told)
    inner = told
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return told


COUNTS = ("n_features_in_", "n_samples_", "best_epoch_", "n_epochs_")


def test_a_count_is_a_whole_number_of_at_least_0(saved):
    _, told = saved
    for name in COUNTS:
        for value in (-1, 1.5, True, "3", None, [], 2**70):
            with pytest.raises(manifest.ManifestError):
                manifest.check(changed(told, ("fitted", name), value))


def test_whatever_is_changed_a_manifest_is_read_or_refused(saved, tmp_path):
    path, told = saved
    copied = tmp_path / "model"
    copied.mkdir()
    for name in ("model.json", "arrays.safetensors"):
        (copied / name).write_bytes((path / name).read_bytes())
    n_refused = 0
    for at in places(told):
        for value in (None, -1, 1e308, [], {}, "x", True, [[]], {"estimator": 5}):
            (copied / "model.json").write_text(json.dumps(changed(told, at, value)))
            try:
                files.read_manifest(copied)
            except ArtifactError:
                n_refused += 1
    assert n_refused > 100
