"""Show the results as tables on the terminal, and as tables and pictures on one page."""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from ..data.writers import PAGE_MARK

__all__ = ["print_tables", "render"]


class _Sheet(NamedTuple):
    """A table: a title, the names of the columns, and rows whose first cell is a name."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def _sheets(results: dict[str, Any]) -> list[_Sheet]:
    sparse, variational = results["sparse"], results["variational"]
    return [
        _Sheet(
            "Reconstruction of held-out digits, compared with PCA of the same K",
            ("system", "K", "squared error", "PCA", "explained variance", "PCA"),
            [
                (name, str(row["code"]), f"{row['squared_error']:.3f}", f"{row['pca_squared_error']:.3f}",
                 f"{row['explained_variance']:.1%}", f"{row['pca_explained_variance']:.1%}")
                for name, row in results["reconstruction"].items()
            ],
        ),
        _Sheet(
            "Denoising of held-out digits",
            ("noise", "level", "PSNR before", "PSNR after", "gain"),
            [
                (noise.replace("_", " "), f"{row['level']:g}", f"{row['psnr_before']:.1f} dB",
                 f"{row['psnr_after']:.1f} dB", f"+{row['psnr_after'] - row['psnr_before']:.1f} dB")
                for noise, row in results["denoising"].items()
            ],
        ),
        _Sheet(
            "Sparsity",
            ("quantity", "value"),
            [
                ("target activation ρ", f"{sparse['rho']:g}"),
                ("mean of ρ̂ over units", f"{sparse['mean_rho_hat']:.4f}"),
                ("mean |ρ̂ − ρ|, training", f"{sparse['mean_abs_difference']:.4f}"),
                ("mean |ρ̂ − ρ|, held out", f"{sparse['mean_abs_difference_held_out']:.4f}"),
            ],
        ),
        _Sheet(
            "Variational model, nats of the median held-out digit",
            ("quantity", "value"),
            [
                ("ELBO", f"{variational['elbo']:.2f}"),
                ("KL(q‖π)", f"{variational['kl']:.2f}"),
                ("log p(x), importance-weighted", f"{variational['log_p']:.2f}"),
                ("active units", f"{variational['active_units']} of {variational['units']}"),
            ],
        ),
    ]  # fmt: skip


def print_tables(results: dict[str, Any], console: Console) -> None:
    """Print the tables on a terminal or a pipe."""
    for sheet in _sheets(results):
        table = Table(title=sheet.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for i, column in enumerate(sheet.columns):
            table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)


_CAPTIONS = {
    "reconstructions": (
        "Reconstruction",
        "One held-out digit of each class, and its reconstruction by PCA and by each system. Every code has 8 numbers, "
        "except the sparse code: it has 128 units, of which few are active for each digit.",
    ),
    "denoising": (
        "Denoising",
        "Held-out digits, the corrupted digits, and the outputs of the denoiser for this corruption. The denoiser "
        "reads only the corrupted digit. The level of Gaussian noise is in standard deviations of the pixels.",
    ),
    "curves": (
        "Learning",
        "Loss by epoch. The model has the weights of the best epoch on held-out rows. The basic system is trained by "
        "gradient descent (init='random') to show a curve; by default it starts at its optimum, PCA. The weight β of "
        "the KL term rises from 0 to 1 over the first ten epochs (beta='linear').",
    ),
    "latent": (
        "Latent plane",
        "Left: held-out digits in the first two principal components. Centre: their codes in a variational model with "
        "K = 2. Right: the decoded digits on a grid over this plane.",
    ),
    "sparse": (
        "Sparse features",
        "Left: the contribution of each unit to the reconstruction; red is positive, blue is negative. The penalty "
        "β·Σ KL(ρ‖ρ̂) keeps each unit's mean activation near ρ; training adapts its weight β. Right: the mean "
        "activations on held-out digits.",
    ),
    "samples": (
        "Generation",
        "Left: new digits. Right: interpolations between two held-out digits.",
    ),
}

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2430; --soft: #5d6470; --paper: #fbfaf7; --card: #ffffff; --line: #e4e1d8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9e7e1; --soft: #a5a9b3; --paper: #15171c; --card: #1d2027; --line: #31353f; }
  img { filter: invert(1) hue-rotate(180deg); }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 2.2rem 1.2rem 4rem; }
h1 { font-size: 1.9rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 0 0 .3rem; }
p { margin: .2rem 0 1rem; color: var(--soft); max-width: 68ch; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
section { padding: 1.2rem; margin-top: 1.2rem; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; mix-blend-mode: multiply; }
@media (prefers-color-scheme: dark) { img { mix-blend-mode: screen; } }
.tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)); gap: 1.2rem 2rem; }
.tables > div { overflow-x: auto; } .tables > div:first-child { grid-column: 1 / -1; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .86rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { text-align: right; padding: .28rem .4rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } thead th { color: var(--soft); font-weight: 500; }
tbody th { font-weight: 400; }
footer { color: var(--soft); font-size: .88rem; margin-top: 1.6rem; }
"""


def render(results: dict[str, Any], pictures: dict[str, str]) -> str:
    """Return the page as HTML; ``pictures`` maps names to paths relative to the page."""
    data = results["data"]
    sections = "".join(
        f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p>"
        f'<img src="{escape(pictures[name])}" alt="{escape(title)}: {escape(text)}"></section>'
        for name, (title, text) in _CAPTIONS.items()
    )
    tables = "".join(_table(sheet) for sheet in _sheets(results))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{PAGE_MARK}<title>diabolo: five autoencoders on handwritten digits</title><style>{_STYLE}</style></head>
<body><main>
<h1>Five autoencoders, one formula</h1>
<p>The systems are trained on {data["train"]:,} of {escape(data["name"])}.
All figures and pictures are for the {data["test"]:,} held-out digits.</p>
<section><div class="tables">{tables}</div></section>
{sections}
<footer>diabolo demo, seed {results["seed"]}, {results["seconds"]:.0f} s.
All figures: <a href="results.json">results.json</a>.</footer>
</main></body></html>
"""


def _table(sheet: _Sheet) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in sheet.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in sheet.rows
    )
    return (
        f"<div><table><caption>{escape(sheet.title)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
