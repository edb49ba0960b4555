"""One method in its own process: `python methods.py METHOD CELLS.npz SEED OUT.npz`; it also runs without diabolo."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Result = dict[str, Any]


def held_out(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the training cells, and of a fifth of the cells that are held out."""
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[n // 5 :]), np.sort(order[: n // 5])


def pca(cells: Any, seed: int) -> Result:
    """PCA-10 of log(1 + counts per median library), each batch centred; the library is that of all genes."""
    from sklearn.decomposition import PCA

    library, batch = cells["library_size"], cells["batch"]
    train, _ = held_out(len(batch), seed)
    started = time.process_time()
    logs = np.log1p(cells["counts"] / library[:, None] * np.median(library))
    for one in np.unique(batch):
        logs[batch == one] -= logs[batch == one].mean(axis=0)
    codes = PCA(10, random_state=seed).fit(logs[train]).transform(logs)
    return {"codes": codes, "cpu_seconds": time.process_time() - started}


def _anndata(cells: Any) -> Any:
    import anndata
    import pandas as pd
    from scipy import sparse

    names = [f"cell {i}" for i in range(len(cells["batch"]))]
    about = pd.DataFrame({"batch": cells["batch"].astype(str)}, index=names)
    return anndata.AnnData(sparse.csr_matrix(cells["counts"].astype(np.float32)), obs=about)


def diabolo(cells: Any, seed: int, *, raw: bool = False) -> Result:
    """The defaults; ``raw``: the codes themselves, in which all dimensions have about the same variance."""
    from diabolo.singlecell import SingleCellAutoencoder

    adata = _anndata(cells)
    train, test = held_out(len(adata), seed)
    some = adata[train].copy()
    started = time.process_time()
    model = SingleCellAutoencoder(batch_key="batch", random_state=seed).fit(some)
    seconds = time.process_time() - started
    codes = model.codes(adata) if raw else model.transform(adata)
    return {"codes": codes, "nll": -model.score(adata[test].copy()), "cpu_seconds": seconds}


def scvi(cells: Any, seed: int, epochs: int | None = 100) -> Result:
    """The defaults of scvi-tools, with a number of epochs; None: its default number, 400 for few cells."""
    import scvi as package

    package.settings.seed = seed
    package.settings.verbosity = 40
    adata = _anndata(cells)
    train, test = held_out(len(adata), seed)
    some = adata[train].copy()
    package.model.SCVI.setup_anndata(some, batch_key="batch")
    started = time.process_time()
    model = package.model.SCVI(some)
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False, logger=False)
    seconds = time.process_time() - started
    nll = -float(model.get_marginal_ll(adata[test].copy(), n_mc_samples=256, return_mean=True))
    return {"codes": model.get_latent_representation(adata), "nll": nll, "cpu_seconds": seconds}


METHODS: dict[str, Callable[[Any, int], Result]] = {
    "diabolo": diabolo,
    "diabolo, codes": lambda cells, seed: diabolo(cells, seed, raw=True),
    "PCA-10, batches centred": pca,
    "scvi-tools, 100 epochs": scvi,
    "scvi-tools": lambda cells, seed: scvi(cells, seed, None),
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    name, source, number, out = sys.argv[1:]
    with np.load(source, allow_pickle=False) as file:
        np.savez(out, **METHODS[name](dict(file), int(number)))
