"""The notebooks as they are kept: run from top to bottom, shown in full, in public names, with nothing of the machine.

What their cells print is compared by nbval (``make test``); this is about what nbval does not look at.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"
NAMES = [
    "00-quick-start", "01-encoding", "02-gating", "03-interference", "04-irag", "05-general-knowledge", "06-paper-figures",
    "07-your-experiment", "08-llama-and-cluster", "09-free-recall", "10-your-recall-data", "11-lifetime",
]  # fmt: skip
MACHINE = re.compile(r"(?<![\w.:~/])(?:/(?:[\w.-]+/)+[\w.-]+|[A-Z]:\\\w+)|ipykernel_\d+")  # absolute paths
MOST = 2_000_000  # bytes of one notebook

every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def text(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)


def code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells with code in them."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def python(cell: dict[str, Any]) -> ast.Module:
    """A cell's code without its magics."""
    return ast.parse(re.sub(r"(?m)^%.*$", "", text(cell["source"])))


def shows(tree: ast.Module) -> bool:
    """Whether a cell must leave something behind: it prints, or ends in an expression other than a call.

    A call may give nothing.
    """
    last = tree.body[-1] if tree.body else None
    value = isinstance(last, ast.Expr) and not isinstance(last.value, ast.Call)
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return value or bool(called & {"print", "display"})


def private(tree: ast.Module) -> set[str]:
    """What a cell does that a reader could not: names of its own making, and names that are not public."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(f"def {node.name}")
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and re.match(r"_.", node.id):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            found |= {name for name in names if re.search(r"(^|\.)_", name)}
    return found


def texts(value: Any, key: str = "") -> Iterator[str]:
    """All text in a notebook, pictures left out."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from texts(item, name)
    elif isinstance(value, list) and not all(isinstance(item, str) for item in value):
        for item in value:
            yield from texts(item, key)
    elif isinstance(value, str | list) and not key.startswith("image/"):
        yield text(value)


def test_all_notebooks_are_there_and_no_others():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@every
def test_it_was_run_from_top_to_bottom_and_went_well(path):
    cells = code(read(path))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), "run 'make notebooks'"
    for cell in cells:
        for output in cell["outputs"]:
            assert output["output_type"] != "error", output
            assert output.get("name") != "stderr", f"progress bars and warnings have no place in a notebook: {output}"


@every
def test_what_its_cells_show_is_kept(path):
    for cell in code(read(path)):
        assert cell["outputs"] or not shows(python(cell)), text(cell["source"])


@every
def test_it_uses_what_a_reader_can_use(path):
    for cell in code(read(path)):
        assert private(python(cell)) == set(), text(cell["source"])


@every
def test_its_settings_stand_in_one_cell_and_every_cell_is_compared(path):
    tags = [tag for cell in read(path)["cells"] for tag in cell["metadata"].get("tags", ())]
    assert [tag for tag in tags if tag != "nbval-ignore-output"] == ["parameters"]
    # A fit to one person has several tops, and which one it climbs may depend on the processor.
    fits = {"09-free-recall": 1, "10-your-recall-data": 6}
    assert tags.count("nbval-ignore-output") == fits.get(path.stem, 0)


@every
def test_it_asks_a_question_and_its_links_lead_somewhere(path):
    prose = [text(cell["source"]) for cell in read(path)["cells"] if cell["cell_type"] == "markdown"]
    assert re.match(r"# .+\?\n", prose[0]), prose[0][:80]
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", "\n".join(prose))
    local = [link for link in links if not re.match(r"(https?|mailto):", link)]
    assert [link for link in local if not (path.parent / link).exists()] == []
    if path.stem != NAMES[-1] and path.stem in NAMES:
        assert f"{NAMES[NAMES.index(path.stem) + 1]}.ipynb" in local, "where to go on"


@every
def test_nothing_of_the_machine_is_in_it(path):
    notebook = read(path)
    assert [found[0] for part in texts(notebook) if (found := MACHINE.search(part))] == []
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert not any("execution" in cell["metadata"] for cell in notebook["cells"]), "times change with every run"
    assert path.stat().st_size < MOST


def test_the_guards_see_what_they_guard_against():
    assert shows(ast.parse("x = 1\nx")) and shows(ast.parse("print(1)")) and shows(ast.parse("if x:\n    print(1)"))
    assert not shows(ast.parse("x = 1")) and not shows(ast.parse("mind.forget('a')")) and not shows(ast.parse(""))
    assert private(ast.parse("def f(): pass\nmind._stack\nfrom memsci._x import y\n_z = 1")) == {
        "def f", "_stack", "memsci._x", "_z",
    }  # fmt: skip
    assert private(ast.parse("import memsci\nfor _ in mind.ids: memsci.load()\nf = lambda x: x")) == set()
    assert list(texts({"a": ["x\n", "y"], "image/png": "z", "b": [{"c": "w"}]})) == ["x\ny", "w"]
    for path in ("in /home/ada/memsci", r"C:\Users\ada", "ipykernel_12/3.py", "('/tmp/x',)"):
        assert MACHINE.search(path)
    assert not MACHINE.search("https://example.org/home/x, figures/runs/main, 1/2/3, </td></tr>, ~/.config/dask/x.yaml")


def test_the_page_of_the_probe_is_kept_without_outputs():
    page = read(ROOT / "memsci" / "assets" / "probe" / "probe.ipynb")
    assert [(cell["execution_count"], cell["outputs"]) for cell in code(page)] == [(None, [])]


# What nbval leaves out of its comparison.


@pytest.fixture(scope="module")
def sanitize():
    from nbval.plugin import get_sanitize_patterns

    kept = SANITIZE.read_text(encoding="utf-8")
    patterns = get_sanitize_patterns(kept)
    # nbval passes over an entry that is not written just so, and says nothing.
    assert len(patterns) == kept.count("\nregex:") == kept.count("\nreplace:") == kept.count("\n[") > 0

    def clean(string: str) -> str:
        for regex, replacement in patterns:
            string = re.sub(regex, replacement, string)
        return string

    return clean


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("took 3.21 s", "took SECONDS"),
        ("12 ms a step", "SECONDS a step"),
        ("saved 2026-03-04T05:06:07+00:00", "saved DATE"),
        ("2026-03-04 05:06:07.123456", "DATE"),
        ("<object at 0x7f3a5c0d1e20>", "<object at ADDRESS>"),
        ("/tmp/ipykernel_4711/123.py:3: Warning", "PATH Warning"),
        ("MEGa('built-in') in '/tmp/memsci-ab12/store'", "MEGa('built-in') in 'PATH'"),
        (r"C:\Users\ada\store", "PATH"),
        (
            "         id            label  epochs loss\nclock-tower the silent clock       7 0.03",
            "         id            label  epochs loss\nclock-tower the silent clock       7 LOSS",
        ),
    ],
)
def test_times_addresses_and_paths_are_not_compared(sanitize, written, compared):
    assert sanitize(written) == compared


@pytest.mark.parametrize(
    "result",
    [
        "0.7598", "-2.06 nats", "12 memories, 1.4 MB", "81.3 % of 150", "on 21 June 1987", "0xBEEF", "45 minutes late",
        "figures/runs/main", "fan 1   0.89    6.30        0.91", "0  place alone   fan 1  0.891",
        "1/2", "the 1970s", "0.5 sigma", "https://example.org/tmp/x",
    ],
)  # fmt: skip
def test_results_are_compared(sanitize, result):
    assert sanitize(result) == result
