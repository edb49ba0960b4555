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
    "SparsityConstraint": "Sparsity penalty, β·Σ KL(ρ‖ρ̂)",
    "sparsity_weight": "Weight of the sparsity penalty, β",
    "L1": "L1 penalty",
    "WeightDecay": "Weight decay",
    "Contractive": "Contractive penalty",
    "Commitment": "Commitment of the codes",
    "MaximumMeanDiscrepancy": "Maximum mean discrepancy",
    "TotalCorrelation": "Total correlation",
    "Adversarial": "Adversarial penalty",
}
"""The title of each term of the loss."""
