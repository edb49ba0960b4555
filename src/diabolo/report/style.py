"""Colours and names that the report's charts and the displays share."""

from __future__ import annotations

__all__ = ["FIRST", "SECOND", "TERMS", "THIRD"]

FIRST, SECOND, THIRD = "#0072b2", "#d55e00", "#009e73"
"""The colours of Okabe & Ito (2008), which are safe for colour blindness."""
TERMS = {
    "loss": "Loss",
    "reconstruction": "Reconstruction, −log p(x | z)",
    "kl": "KL(q(z | x) ‖ π)",
    "KLSparsity": "Sparsity penalty, β·Σ KL(ρ‖ρ̂)",
}
"""The title of each term of the loss."""
