"""Measures: what is counted and how sure it is, all without torch."""

from __future__ import annotations
