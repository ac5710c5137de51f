"""Runs of experiments: found by their content, resumed at the last finished cell, the same tables however they were run.

`prepare` turns an experiment into a folder and its jobs, `run` does those that are not done and makes the tables, `publish`
puts figures and what they are drawn from where others can have them.
"""

from __future__ import annotations

from memsci.runs.execute import Failed, check_workers, run
from memsci.runs.finish import finish, score
from memsci.runs.folder import find, status
from memsci.runs.prepare import Prepared, choose, command, lay_out, prepare
from memsci.runs.publish import publish

__all__ = [
    "Failed", "Prepared", "check_workers", "choose", "command", "find", "finish", "lay_out", "prepare", "publish", "run",
    "score", "status",
]  # fmt: skip
