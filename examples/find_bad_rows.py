"""Rows with a cell in the wrong unit, found in a table, with the column that did it.

    python examples/find_bad_rows.py --out flagged.png

Measurements of tumours. In some rows one value was written down ten times too large or too small, as happens when a
unit is mistaken; nobody says which.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

from diabolo import AnomalyDetector

RATE = 0.05


def main() -> None:
    """Spoil some rows, find them, and draw the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="flagged.png")
    parser.add_argument("--quick", action="store_true", help="one network in place of two")
    options = parser.parse_args()

    table = load_breast_cancer(as_frame=True).data
    order = np.random.default_rng(0).permutation(len(table))
    known, new = table.iloc[order[:400]], table.iloc[order[400:]].reset_index(drop=True)
    rng = np.random.default_rng(1)
    spoilt = rng.choice(len(new), 20, replace=False)
    columns = rng.integers(table.shape[1], size=len(spoilt))
    for row, column in zip(spoilt, columns, strict=True):
        new.iloc[row, column] *= rng.choice([0.1, 10.0])

    detector = AnomalyDetector("single" if options.quick else "ensemble", false_alarm_rate=RATE, random_state=0).fit(
        known
    )
    why = detector.explain(new)
    flagged = detector.predict(new) == -1
    is_spoilt = np.isin(np.arange(len(new)), spoilt)
    blamed = why.top_features(1)[:, 0]
    right = [blamed[row] == table.columns[column] for row, column in zip(spoilt, columns, strict=True) if flagged[row]]
    print(
        f"{flagged[is_spoilt].sum()} of {len(spoilt)} bad rows found, {sum(right)} of them by the column that is wrong"
    )
    print(f"{flagged[~is_spoilt].sum()} of {(~is_spoilt).sum()} good rows flagged; at a rate of {RATE:.0%} about "
          f"{RATE * (~is_spoilt).sum():.0f} were to be expected")  # fmt: skip

    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    rank = np.argsort(np.argsort(why.scores))
    for name, chosen, color in (("good", ~is_spoilt, "#0072b2"), ("bad", is_spoilt, "#d55e00")):
        axes.scatter(rank[chosen], why.scores[chosen], s=28, color=color, label=name)
    axes.axhline(-detector.offset_, color="black", linestyle="--", linewidth=1)
    axes.annotate("flagged above", (0, -detector.offset_), xytext=(0, 4), textcoords="offset points")
    for row in np.argsort(-why.scores)[:12:5]:
        text = f"{blamed[row]} = {new[blamed[row]][row]:.3g}"
        axes.annotate(
            text, (rank[row], why.scores[row]), xytext=(-6, 0), textcoords="offset points", ha="right", va="center"
        )
    axes.set(xlabel="new rows, by score", ylabel="score", yscale="log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
