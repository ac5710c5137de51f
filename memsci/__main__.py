"""``python -m memsci``: the command line."""

from memsci.cli import app

app(prog_name="memsci")
