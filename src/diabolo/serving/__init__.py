"""Serve a fitted model over HTTP, with rows and results as JSON or Arrow (extra ``serve``)."""

from .app import Limits, create_app
from .server import serve

__all__ = ["Limits", "create_app", "serve"]
