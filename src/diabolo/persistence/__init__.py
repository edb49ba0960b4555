"""Saved models: files, manifest, serialization, reference outputs."""
