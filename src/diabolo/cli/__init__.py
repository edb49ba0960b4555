"""The command `diabolo`."""

from .app import main

__all__ = ["main"]
