"""Threads that wait let other programs have their cores: set before torch is loaded, unless the user has set it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def told(code: str, **settings: str) -> tuple[str, str]:
    """What a new Python prints, and its warnings."""
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    ran = subprocess.run([sys.executable, "-c", code], env=clean | settings, capture_output=True, text=True, check=True)
    return ran.stdout.strip(), ran.stderr


SHOW = "import os; print(os.environ.get('GOMP_SPINCOUNT'))"


def test_it_is_set_before_torch_and_inherited():
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SHOW!r}])"
    assert told(f"import memsci; {SHOW}") == ("1000", "")
    assert told(f"import memsci; {child}") == ("1000", "")
    assert told(f"import memsci, memsci.cli; {SHOW}") == ("1000", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_of_the_users_own_wins(name):
    value = {"OMP_WAIT_POLICY": "ACTIVE"}.get(name, "7")
    assert told(f"import memsci; {SHOW}", **{name: value}) == ("7" if name == "GOMP_SPINCOUNT" else "None", "")


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP is Linux's")
def test_where_torch_came_first_it_is_said_once():
    _, warned = told("import torch, memsci; import importlib; importlib.import_module('memsci.cli')")
    assert warned.count("torch was imported before memsci") == 1 and "GOMP_SPINCOUNT=1000" in warned
    assert told("import torch, memsci", OMP_WAIT_POLICY="PASSIVE")[1] == ""


def test_the_tests_themselves_are_gentle():
    assert any(name in os.environ for name in NAMES)
