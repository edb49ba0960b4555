"""An estimator and a folder: atomic files, the manifest, serialization."""
