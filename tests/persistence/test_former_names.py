"""Names of earlier versions: imports, parts of one's own, saved models."""

import json
import warnings
from dataclasses import dataclass

import numpy as np
import pytest

import diabolo
from diabolo import errors, former_names, parts
from diabolo.core import component


def test_every_former_name_is_found_and_warns():
    for module, names in ((parts, former_names.IN_PARTS), (errors, former_names.ERRORS)):
        for former, now in names.items():
            with pytest.warns(FutureWarning, match=now):
                assert getattr(module, former) is getattr(module, now)
            assert former not in getattr(module, "__all__", ())
        with pytest.raises(AttributeError):
            getattr(module, "never_was")  # noqa: B009


def test_a_method_of_a_former_name_still_counts():
    with pytest.warns(FutureWarning, match="produces_missing"):

        @dataclass(frozen=True)
        class FormerHidesAll(parts.Corruption):
            @property
            def hides(self):
                return True

            def __call__(self, key, x):
                return x * np.nan

    assert parts.Recipe(corruption=FormerHidesAll()).missing == "mask"


def test_a_saved_model_with_parts_of_former_names_loads(tmp_path):
    rows = np.random.default_rng(0).poisson(3.0, (60, 4)).astype(float)
    model = diabolo.Autoencoder(
        encoder=parts.MLP((4,)),
        latent=parts.Deterministic(2),
        corruption=parts.RandomChoice((parts.MaskCells(0.1), parts.Masking(0.1))),
        likelihood=parts.ColumnwiseLikelihood((parts.NegativeBinomial(),), (4,)),
        max_epochs=1,
        random_state=0,
    ).fit(rows)
    model.save(tmp_path / "model")
    manifest = next(path for path in (tmp_path / "model").iterdir() if path.suffix == ".json")
    text = manifest.read_text()
    former = {now: former for former, now in former_names.PARTS.items()}
    assert all(f'"{now}"' in text for now in former)
    for now, then in former.items():
        text = text.replace(f'"{now}"', f'"{then}"')
    assert json.loads(text) != json.loads(manifest.read_text())
    known = {cls.__name__: cls for cls in component.Registered(component.Component).values()}
    assert not set(former_names.PARTS) & set(known)
    manifest.write_text(text)
    with warnings.catch_warnings(action="error"):
        again = diabolo.load(tmp_path / "model")
    np.testing.assert_array_equal(again.score_samples(rows), model.score_samples(rows))
