"""The documentation site: built strictly, readable without a network, every picture told in words."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "link": "href",
}  # what a browser fetches by itself

pytest.importorskip("mkdocs", reason="the site needs the extra docs")
if not (ROOT / "mkdocs.yml").is_file():
    pytest.skip("the site is not in a source distribution", allow_module_level=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """As `make docs` builds it: broken links and anchors, and names in docstrings that are none, would end it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


class Page(HTMLParser):
    """Elements of a page with their attributes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def pages(site) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path) for path in sorted(site.rglob("*.html"))}


def test_its_pages_are_there(pages):
    rooms = {f"reference/{path.parent.name}.html" for path in (ROOT / "memsci").glob("*/__init__.py")}
    notebooks = {f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert rooms | notebooks | {"index.html", "glossary.html", "results.html", "contributing.html"} <= pages.keys()


def test_nothing_is_fetched_from_elsewhere(site, pages):
    for name, page in pages.items():
        for tag, attributes in page.found:
            address = attributes.get(LOADED.get(tag, ""), "") or ""
            assert not re.match(r"(https?:)?//", address) or attributes.get("rel") == "canonical", (name, tag, address)
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_every_picture_is_told_in_words(pages):
    untold = [
        (name, image["src"])
        for name, page in pages.items()
        for tag, image in page.found
        if tag == "img" and not image.get("alt")
    ]
    assert untold == []


def test_pictures_are_there(site, pages):
    for name, page in pages.items():
        for tag, image in page.found:
            if tag == "img" and not image["src"].startswith("data:"):
                assert (site / name).parent.joinpath(image["src"]).is_file(), (name, image["src"])


def test_the_search_finds_words_of_pages_notebooks_and_docstrings(site):
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    told = lambda word: {one["location"].partition("#")[0] for one in found if word in (one["title"] + one["text"])}
    assert "glossary.html" in told("Partition")
    assert "notebooks/07-your-experiment.html" in told("fan effect")
    assert "reference/measures.html" in told("sign_flip")


def test_parameters_that_a_docstring_leaves_to_another_are_shown(site):
    page = (site / "reference" / "phenomena.html").read_text(encoding="utf-8")
    entries = {entry.partition('"')[0]: entry for entry in page.split('<h3 id="memsci.phenomena.')[1:]}
    assert "unit of every test" in entries["experiment.run"]
    for entry in (entries["fan.fan"], entries["interference.interference"]):
        assert "unit of every test" in entry and "Parameters are those of" not in entry
    assert "learners; None for all" in entries["interference.interference"]
    assert "learners; None for all" not in entries["fan.fan"]  # which has no such parameter
