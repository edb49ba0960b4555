"""Diagnose a fitted autoencoder: each finding has a title, evidence and an action."""

from __future__ import annotations

from ..collect import ReportData
from .columns import constant, duplicates, identifiers
from .finding import Finding, Rule
from .latent import dead_units, off_target, posterior_collapse
from .likelihood import sigma_at_floor, too_noisy, unscaled, wrong_likelihood
from .rows import extreme_cells, few_rows, shifted, worse_than_mean
from .training import divergence, not_held_out, overfitting, under_training, worse_than_pca

__all__ = ["RULES", "Finding", "diagnose"]

RULES: tuple[Rule, ...] = (
    divergence,
    extreme_cells,
    shifted,
    unscaled,
    posterior_collapse,
    dead_units,
    off_target,
    overfitting,
    under_training,
    worse_than_mean,
    worse_than_pca,
    sigma_at_floor,
    too_noisy,
    wrong_likelihood,
    identifiers,
    constant,
    duplicates,
    not_held_out,
    few_rows,
)
"""All rules, in the order of their findings."""


def diagnose(evidence: ReportData) -> list[Finding]:
    """Return all findings, serious findings first."""
    found = [finding for rule in RULES for finding in rule(evidence)]
    return sorted(found, key=lambda finding: not finding.serious)
