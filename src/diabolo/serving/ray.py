"""Scoring on a Ray cluster: each worker creates a `Scorer` once, and calls it for each batch of rows."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from .. import outputs
from ..data.readers import files_in, kind_of, numeric
from ..errors import UsageError
from ..estimators.loading import load
from ..persistence.files import read_manifest

__all__ = ["Scorer", "score_with_ray"]


class Scorer:
    """A callable that computes log-densities with a saved model, for `ray.data.Dataset.map_batches`.

    Parameters
    ----------
    run : path
        A folder written by `save`, which every worker can read.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import BasicAutoencoder
    >>> X = load_iris(as_frame=True).data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     BasicAutoencoder(max_epochs=2, random_state=0).fit(X).save(f"{folder}/run")
    ...     scorer = Scorer(f"{folder}/run")
    >>> scorer(pa.Table.from_pandas(X)).column_names
    ['log_density']
    """

    def __init__(self, run: str | os.PathLike[str]) -> None:
        self._model = load(run)
        self._names = list(getattr(self._model, "feature_names_in_", ()))

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Score an Arrow table (``batch_format="pyarrow"``) with the model's columns; return ``log_density``."""
        if self._names:
            batch = batch.select(self._names)
        if not batch.num_rows:
            return pa.table({"log_density": np.zeros(0)})
        rows: Any = batch if self._names else numeric(batch)
        return pa.table({"log_density": self._model.score_samples(rows)})


def score_with_ray(
    run: str | os.PathLike[str], where: str, out: str | os.PathLike[str], batch_size: int = 8192
) -> None:
    """Score Parquet or CSV files on Ray, and write a folder of Parquet files with ``log_density``, in the rows' order.

    Ray starts on this machine and stops after the work, unless it runs already or ``RAY_ADDRESS`` names a cluster,
    whose machines must have access to all paths. Its warnings go to standard error.

    Raises
    ------
    UsageError
        If Ray is not installed, the files are of another kind, or ``out`` exists.
    """
    try:
        import ray
    except ImportError:
        raise UsageError("Ray is not installed. Install it with: pip install 'diabolo[ray]'") from None
    out, files = Path(out), [str(file.resolve()) for file in files_in(where)]
    readers = {".parquet": ray.data.read_parquet, ".csv": ray.data.read_csv}
    kinds = {kind_of(Path(file)) for file in files}
    if len(kinds) > 1 or not kinds <= set(readers):
        raise UsageError(
            f"{where}: the files are {', '.join(sorted(kinds))}; "
            "Ray scores files of one kind, .parquet or .csv. Convert them."
        )
    if out.exists():
        raise UsageError(f"{out} exists already. Choose another name: a folder of results is not replaced.")
    read_manifest(run)  # raises its own error here, before a worker would
    with _ray(ray):
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        ray.data.DataContext.get_current().enable_progress_bars = False
        scored = readers[kinds.pop()](files).map_batches(
            Scorer,
            fn_constructor_args=(str(Path(run).resolve()),),
            batch_format="pyarrow",
            batch_size=batch_size,
            concurrency=(1, max(1, int(ray.cluster_resources().get("CPU", 1)))),
        )
        with outputs.write_folder(out) as folder:
            scored.write_parquet(str(folder))


@contextmanager
def _ray(ray: ModuleType) -> Iterator[None]:
    """Start Ray unless it runs, and stop what was started; what Ray says of its cluster goes to standard error."""
    running = ray.is_initialized()
    # Ray prints its warnings to standard output, some of them only as it stops.
    with redirect_stdout(sys.stderr):
        if not running:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)  # JAX has not run here
                ray.init(log_to_driver=False, logging_level="error", include_dashboard=False)
        try:
            yield
        finally:
            if not running:
                ray.shutdown()
