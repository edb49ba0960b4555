"""Cells and numbers, files and rows: schemas, scalers, readers, blocks of rows, writers."""
