"""Counts of single cells: codes, batch effects, held-out likelihood, beside PCA and scvi-tools."""
