"""Export of fitted models to other formats."""
