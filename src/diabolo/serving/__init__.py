"""A fitted model behind HTTP: rows in, answers out, as JSON or Arrow (extra ``serve``)."""

from .app import Limits, create_app
from .server import serve

__all__ = ["Limits", "create_app", "serve"]
