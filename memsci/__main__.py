"""``python -m memsci``: the command line."""

from memsci.cli.main import app

app(prog_name="memsci")
