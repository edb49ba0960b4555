"""Does annealing β help? Bowman et al. (2016) and Fu et al. (2019) say so, of text."""

from __future__ import annotations

from typing import Any

from scipy import stats

from diabolo import VariationalAutoencoder
from diabolo.metrics import active_units
from diabolo.parts import Cyclical, LinearWarmup, Schedule

from ..data import binarized_mnist
from ..record import Found, Row
from ..study import Figures, Study

_EPOCHS = 40
_SCHEDULES: dict[str, float | Schedule] = {
    "constant": 1.0,
    "linear": LinearWarmup(_EPOCHS / 5),
    "cyclical": Cyclical(4, ramp=0.5),
}


def _run(study: Study) -> Found:
    rows = binarized_mnist(study)
    train, valid, test = rows.train, rows.valid, rows.test

    def measured(model: Any) -> dict[str, float]:
        return {
            "log p": float(model.log_likelihood(test, n_samples=128).mean()),
            "ELBO": float(model.elbo(test, n_samples=128).mean()),
            "KL": float(model.kl(test).sum(axis=1).mean()),
            "active units": int(active_units(model.transform(test)).sum()),
        }

    by_schedule: dict[str, Figures] = {}
    settings = ""
    for name, schedule in study.pick(_SCHEDULES, {name: _SCHEDULES[name] for name in ("constant", "cyclical")}).items():

        def make(seed: int, beta: float | Schedule = schedule) -> VariationalAutoencoder:
            return VariationalAutoencoder(
                n_latent=128,
                hidden_layer_sizes=(256, 256),
                activation="relu",
                likelihood="bernoulli",
                beta=beta,
                max_epochs=study.epochs(_EPOCHS),
                scaling=None,
                random_state=seed,
            )

        by_schedule[name], settings = study.trials(make, train, measured, f"{name}-", X_val=valid)
    figures = {f"{what}, {name}": values for name, some in by_schedule.items() for what, values in some.items()}
    for name in ("linear", "cyclical"):
        for what, values in by_schedule["constant"].items():
            if len(values) > 1:
                p = stats.ttest_rel(by_schedule[name][what], values).pvalue
                figures[f"p of a paired t-test, {what}, {name} against constant"] = [float(p)]
    return Found(figures, settings=[settings])


ANNEALING = Row(
    name="annealing",
    title="KL annealing",
    protocol="Larochelle's binarised MNIST and the network of vae-static, 40 epochs; β = 1 throughout, rising in a "
    "line over the first fifth, or four times from 0 to 1; active units (Burda et al. 2016), KL, ELBO and log p of "
    "test rows, 128 draws",
    published="annealing helps (Bowman et al. 2016; Fu et al. 2019, on text)",
    unit="nats; units",
    run=_run,
    remarks="With β annealed, half as many units again are active, and the KL is six nats greater. That is not worth "
    "much by itself: log p is better by 0.2 and 0.4 nats, which five seeds do not tell from chance (p = 0.29 and "
    "0.08), and the ELBO is worse, by 0.5 (p = 0.004) and 0.3.",
    minutes=60,
    seeds=(0, 1, 2, 3, 4),
)
