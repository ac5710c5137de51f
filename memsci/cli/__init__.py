"""The command line."""

from __future__ import annotations

from memsci.cli.main import app

__all__ = ["app"]
