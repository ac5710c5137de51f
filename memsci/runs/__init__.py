"""Runs of experiments: found by their content, resumed at the last finished cell, the same tables however they were run."""

from __future__ import annotations

from memsci.runs.execute import (
    Failed,
    Prepared,
    choose,
    command,
    find,
    finish,
    lay_out,
    prepare,
    run,
    score,
    ship,
    status,
)

__all__ = [
    "Failed", "Prepared", "choose", "command", "find", "finish", "lay_out", "prepare", "run", "score", "ship",
    "status",
]  # fmt: skip
