"""What the how-tos tell to write is true: their files are read, their code is run, and it prints what they say."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
from pathlib import Path

import matplotlib
import pytest

from memsci import experiments

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "howto").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

if not PAGES:
    pytest.skip("documents are not in a source distribution", allow_module_level=True)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, file name and text of what stands in fences."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def said(language: str, text: str, names: dict) -> str:
    """What a piece of code prints."""
    if language == "r":
        return subprocess.run(["Rscript", "-"], input=text, capture_output=True, text=True, check=True).stdout
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(text, "how-to", "exec"), names)
    return out.getvalue()


def can_run_r() -> bool:
    return (
        bool(shutil.which("Rscript"))
        and not subprocess.run(["Rscript", "-e", "library(lme4)"], capture_output=True).returncode
    )


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, beside the published figures."""
    (tmp_path / "figures").symlink_to(ROOT / "figures")
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    return tmp_path


@pytest.mark.parametrize("language", ["python", "r"])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_code_prints_what_it_says(page, language, place):
    found = blocks(page)
    mine = [text for kind, file, text in found if kind == language and (file or language == "python")]
    if not mine:
        pytest.skip("nothing to run")
    for needed in ("statsmodels", "psifr"):
        if needed in "".join(mine):
            pytest.importorskip(needed)
    if language == "r" and not can_run_r():
        pytest.skip("needs Rscript with lme4")
    names: dict = {"__name__": "how-to"}
    for (kind, file, text), (after, _, told) in zip(found, [*found[1:], ("", "", "")]):
        if file and kind in ("csv", "toml"):
            (place / file).write_text(text, encoding="utf-8")
        if text in mine and kind == language:
            out = said(language, text, names)
            lines = lambda block: [line.rstrip() for line in block.strip("\n").splitlines()]
            assert lines(out) == (lines(told) if after == "output" else []), text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_experiments_are_some(page, place):
    for kind, file, text in blocks(page):
        if kind == "toml" and file:
            (place / file).write_text(text, encoding="utf-8")
            assert experiments.load(place / file).cells()
