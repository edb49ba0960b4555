"""Fitted models of every kind and their reports, each made once."""

import base64
import gzip
import json
import re
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.csv
from sklearn.datasets import load_digits, load_iris, load_wine

import diabolo
from diabolo import parts

DIGITS = load_digits()
X, Y = DIGITS.data[:400] / 16, DIGITS.target[:400]
FEW = {"max_epochs": 12, "random_state": 0}


def iris(n=150):
    found = load_iris(as_frame=True)
    names = np.array(found.target_names)[found.target]
    return pa.table({**{name: found.data[name] for name in found.data}, "species": names}).slice(0, n)


MAKERS = {
    "basic": lambda: diabolo.BasicAutoencoder(n_latent=4, scaling=None, **FEW).fit(X),
    "stacked": lambda: diabolo.StackedAutoencoder(n_latent=4, scaling=None, **FEW).fit(X),
    "sparse": lambda: diabolo.SparseAutoencoder(n_hidden=70, scaling=None, **FEW).fit(X),
    "denoising": lambda: diabolo.DenoisingAutoencoder(n_latent=8, scaling=None, **FEW).fit(X),
    "variational": lambda: diabolo.VariationalAutoencoder(n_latent=3, beta="linear", scaling=None, **FEW).fit(X),
    "bernoulli": lambda: diabolo.VariationalAutoencoder(n_latent=2, likelihood="bernoulli", **FEW).fit(X),
    "table": lambda: diabolo.VariationalAutoencoder(n_latent=2, **FEW).fit(iris()),
    "convolutional": lambda: diabolo.Autoencoder(
        encoder=parts.Convolutional((8, 8, 1), (4, 8)), latent=parts.Deterministic(3, "tanh"), scaling=None, **FEW
    ).fit(X),
    "u-shaped": lambda: diabolo.Autoencoder(
        encoder=parts.MLP((16,), "gelu"),
        latent=parts.Deterministic(64),
        decoder=parts.UNet((8, 8, 1), (4,)),
        scaling=None,
        **FEW,
    ).fit(X),
    "wine": lambda: diabolo.BasicAutoencoder(n_latent=2, **FEW).fit(load_wine(as_frame=True).data),
}


@cache
def fitted(name):
    return MAKERS[name]()


def rows_of(name):
    return {"table": iris(), "wine": load_wine(as_frame=True).data}.get(name, X)


@cache
def page(name):
    labels = Y if rows_of(name) is X else None
    return fitted(name).report(rows_of(name), labels, image_shape=(8, 8) if rows_of(name) is X else None)


def bundle(html):
    packed = re.search(r'id="bundle">([^<]*)<', html).group(1)
    return json.loads(gzip.decompress(base64.b64decode(packed)))
