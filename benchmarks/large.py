"""Data larger than memory: peak resident memory, and the rate of training against that in memory.

    python -m benchmarks.large [--gigabytes 8] [--folder DIR] [--out benchmarks/results/large.json]

Writes a .npy file and a folder of Parquet of that size (784 columns, 32-bit), trains a 784-512-20 variational model
on each for one epoch in a process of its own; and on 200,000 rows for three, in memory before and after, and from a
file of them, whose losses are to agree. Rates are those of the compiled loop, from its second call on; memory is the
process's peak of what is resident, maps of files included.

A machine's pace changes within the minutes that 8 GB take. So every fourth chunk that is streamed is trained on a
second time, from where it lies by then, in memory, with nothing read meanwhile; the rate against memory is the median
of these pairs, whose time is part of `seconds`.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS, PIECE = 784, 20_000


def pieces(n_rows: int) -> Iterator[np.ndarray]:
    """Rows with something to learn, some at a time."""
    mixing = np.random.default_rng(0).normal(size=(20, COLUMNS)).astype(np.float32)
    for number, start in enumerate(range(0, n_rows, PIECE)):
        rng = np.random.default_rng([1, number])
        n = min(PIECE, n_rows - start)
        noise = 0.1 * rng.standard_normal((n, COLUMNS), np.float32)
        yield np.tanh(rng.standard_normal((n, 20), np.float32) @ mixing / 4) + noise


def write_npy(file: Path, n_rows: int) -> None:
    """One file, never whole in memory."""
    with file.open("wb") as out:
        np.lib.format.write_array_header_2_0(out, {"descr": "<f4", "fortran_order": False, "shape": (n_rows, COLUMNS)})
        for rows in pieces(n_rows):
            rows.tofile(out)


def write_parquet(folder: Path, n_rows: int) -> None:
    """Files of 20,000 rows in row groups of 5,000."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    for number, rows in enumerate(pieces(n_rows)):
        table = pa.table({f"x{i}": rows[:, i] for i in range(COLUMNS)})
        options = {"row_group_size": 5_000, "compression": "none", "use_dictionary": False}
        pq.write_table(table, folder / f"{number:05d}.parquet", **options)


def peak_gigabytes() -> float:
    """Of this program alone: what `getrusage` tells begins with the peak of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


def train(where: str, n_epochs: int) -> dict[str, float]:
    """One fit: the loop's rate, the peak of memory, the loss, the rate against that of chunks in memory."""
    import jax

    from diabolo import VariationalAutoencoder
    from diabolo.engine import trainer

    calls: list[tuple[float, int]] = []
    pairs: list[float] = []
    real, program, given = trainer.Trainer.run_epochs, trainer.run_epochs, []

    def remembered(*arguments: Any, **options: Any) -> Any:
        given[:] = arguments
        return program(*arguments, **options)

    def stretch(run: Any) -> Any:
        before, started = run.state, time.perf_counter()
        outcome = real(run)
        rows = run.training.chunk_sizes(before.epoch)
        done = len(outcome) * sum(rows) if len(rows) == 1 else rows[before.chunk]
        took = time.perf_counter() - started
        calls.append((took, done))
        if len(rows) > 1 and before.chunk % 4 == 3 and not outcome:
            started = time.perf_counter()
            jax.block_until_ready(program(*given))
            pairs.append((time.perf_counter() - started) / took)
        return outcome

    trainer.Trainer.run_epochs, trainer.run_epochs = stretch, remembered
    rows = np.concatenate(list(pieces(int(where)))) if where.isdigit() else where
    # A share held out that is as many rows from a file as in memory: from a file it has a limit.
    model = VariationalAutoencoder(
        n_latent=20,
        hidden_layer_sizes=(512,),
        activation="relu",
        validation_fraction=0.02,
        max_epochs=n_epochs,
        random_state=0,
        verbose=1,
    )
    started = time.perf_counter()
    model.fit(rows)
    whole = time.perf_counter() - started
    rate = sum(n for _, n in calls[1:]) / sum(took for took, _ in calls[1:])
    return {
        "rows per second": round(rate),
        "peak GB": round(peak_gigabytes(), 3),
        "seconds": round(whole, 1),
        "loss": model.history_["loss"][-1],
        "validation_loss": model.history_["validation_loss"][-1],
    } | ({"pairs": len(pairs), "rate against memory": float(np.median(pairs))} if pairs else {})


def in_a_process(*arguments: str) -> dict[str, float]:
    """The outcome of `train` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.large", "--train", *arguments]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(arguments[0], found, file=sys.stderr)
    return found


def main() -> None:
    """Run all three and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--folder", type=Path, help="where the data goes; a temporary folder if left out")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "large.json")
    parser.add_argument("--train", nargs=2, metavar=("WHERE", "EPOCHS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        print(json.dumps(train(options.train[0], int(options.train[1]))))
        return
    n_rows = int(options.gigabytes * 2**30 / (4 * COLUMNS))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found: dict[str, object] = {"date": time.strftime("%Y-%m-%d"), "machine": platform.processor() or "x86_64"}
        found["versions"] = {name: version(name) for name in ("diabolo", "jax", "numpy", "pyarrow")}
        found["rows"], found["gigabytes"] = n_rows, options.gigabytes
        n_inside = min(200_000, n_rows)
        found["in memory, before"] = in_a_process(str(n_inside), "3")
        write_npy(Path(folder) / "few.npy", n_inside)
        found["the same rows from .npy"] = in_a_process(str(Path(folder) / "few.npy"), "3")
        write_npy(Path(folder) / "rows.npy", n_rows)
        found[".npy"] = in_a_process(str(Path(folder) / "rows.npy"), "1")
        (Path(folder) / "rows.npy").unlink()
        write_parquet(Path(folder) / "parquet", n_rows)
        found["Parquet"] = in_a_process(str(Path(folder) / "parquet"), "1")
        found["in memory, after"] = in_a_process(str(n_inside), "3")
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
