"""A real browser: the gate probe in JupyterLab and on its own page, by mouse and by keyboard."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

if importlib.util.find_spec("playwright") is None:
    pytest.skip("Playwright is not installed (the extra dev brings it)", allow_module_level=True)

import driving
import nbformat
from driving import ROOT, SECONDS
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

import memsci

NEEDED = os.environ.get("MEMSCI_BROWSER") == "1"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        driving.chromium() is None and not NEEDED,
        reason="no Chromium: install it, or name it in MEMSCI_CHROMIUM (MEMSCI_BROWSER=1 makes this a failure)",
    ),
]
# What a page may take to follow a click; most of it is the model's time, on a machine with other things to do.
expect.set_options(timeout=120 * SECONDS)

# Hardly learnt: it is about what can be pressed, not about what is said.
EDITOR = """\
from dataclasses import replace

import memsci
from memsci.widgets import MemoryEditor

encoding = replace(memsci.Encoding.embedded(), epochs=3, text_epochs=0)
MemoryEditor(memsci.MEGa(memsci.load(), encoding=encoding))"""
WALK = """\
import torch

from memsci.widgets import RecallWalk

keys = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
RecallWalk([f"word {k}" for k in range(1, 17)], torch.nn.functional.cosine_similarity(keys[:, None], keys[None], dim=2))"""
METADATA = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
# Contrast of a border with all that is behind it (WCAG 2.2, relative luminance).
CONTRAST = """(element) => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], back) => [r, g, b].map((value, k) => a * value + (1 - a) * back[k]);
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.unshift(parts(getComputedStyle(at).backgroundColor));
  const back = layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  const light = (rgb) => rgb
    .map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, k) => sum + value * [0.2126, 0.7152, 0.0722][k], 0);
  const [x, y] = [light(over(parts(getComputedStyle(element).borderTopColor), back)), light(back)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}"""


@pytest.fixture(scope="module")
def browser():
    assert driving.chromium(), "MEMSCI_BROWSER=1 wants a browser, and there is no Chromium"
    with sync_playwright() as playwright:
        browser = driving.start(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Four memories, hardly learnt: their keys are what a gate needs."""
    path = tmp_path_factory.mktemp("probe") / "store"
    encoding = dataclasses.replace(memsci.Encoding.embedded(), epochs=1, text_epochs=0)
    mind = memsci.MEGa(memsci.load(), store=path, encoding=encoding)
    mind.encode(memsci.data.builtin("episodic", 0).memories[:4], progress=False)
    return path


def bars(probe: Locator) -> list[tuple[str, str]]:
    """The bars of a probe: label and weight, from top to bottom."""
    texts = lambda part: probe.locator(f".memsci-bar-{part}").all_inner_texts()
    return list(zip(texts("label"), texts("value"), strict=True))


def changed(page: Page, probe: Locator, before: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The bars, once they are others than before."""
    for _ in range(1200):
        if (now := bars(probe)) and now != before:
            return now
        page.wait_for_timeout(100)
    raise AssertionError(f"The bars stayed as they were: {before}")


def use(page: Page) -> None:
    """Everything that one does with a probe and its map; each step has to show."""
    probe = page.locator(".memsci-probe").first
    probe.scroll_into_view_if_needed()
    expect(probe.locator(".memsci-bar").first).to_be_visible()
    question = probe.get_by_placeholder("Type a question")

    # β, by keyboard: at 0 all memories are open alike, at its upper end one alone, and between them some more than others.
    handle = probe.locator(".noUi-handle").first
    handle.focus()
    before = bars(probe)
    handle.press("Home")
    even = changed(page, probe, before)
    assert len({weight for _, weight in even}) == 1
    handle.press("End")
    alone = changed(page, probe, even)
    assert [weight for _, weight in alone] == ["1.0000"] + ["0.0000"] * (len(alone) - 1)
    handle.press("Home")
    assert changed(page, probe, alone) == even
    handle.press("ArrowRight")
    graded = changed(page, probe, even)
    assert len({weight for _, weight in graded}) > 1

    # Another question, typed.
    question.fill("Who was there, and what was it about in the end?")
    question.press("Enter")
    typed = changed(page, probe, graded)

    # A cell of the map opens its question.
    grid = page.locator(".memsci-map-grid").first
    grid.scroll_into_view_if_needed()
    last = grid.locator(".memsci-map-cell").last
    last.click()
    asked = grid.locator(".memsci-map-label").last.inner_text()
    expect(question).to_have_value(asked)
    opened = changed(page, probe, typed)
    # And by keyboard, from there to the first cell.
    last.press("Control+Home")
    grid.locator(".memsci-map-cell").first.press("Enter")
    expect(question).to_have_value(grid.locator(".memsci-map-label").first.inner_text())
    changed(page, probe, opened)

    # A bar moved by hand, and back.
    bar = probe.locator(".memsci-bar-track").last
    bar.focus()
    before = bars(probe)
    bar.press("PageUp")
    changed(page, probe, before)
    expect(probe).to_contain_text("Set by hand")
    expect(bar).to_have_attribute("aria-valuetext", re.compile("set by hand"))
    probe.get_by_role("button", name="Own gate").click()
    expect(probe).not_to_contain_text("Set by hand")

    # Or by the pointer, which may leave it on the way, to where it is let go.
    bar.scroll_into_view_if_needed()
    place = bar.bounding_box()
    down, right = place["y"] + place["height"] / 2, place["x"] + place["width"]
    page.mouse.move(place["x"] + 2, down)
    page.mouse.down()
    page.mouse.move(place["x"] + 0.7 * place["width"], down + 30, steps=5)
    page.mouse.move(right + 20, down, steps=5)
    page.mouse.move(place["x"] + 0.5 * place["width"], down)
    page.mouse.up()
    expect(probe).to_contain_text("Set by hand")
    expect(probe.locator(".memsci-bar-value").last).to_have_text(re.compile(r"0\.(49|50|51)00"))
    probe.get_by_role("button", name="Own gate").click()
    expect(probe).not_to_contain_text("Set by hand")

    # An empty bar can be seen: its border stands out from the page behind it.
    assert bar.evaluate(CONTRAST) >= 3

    # And the model speaks.
    probe.get_by_role("button", name="Answer", exact=True).click()
    expect(probe.locator(".memsci-said")).to_have_count(2)
    expect(probe.locator(".memsci-replies")).to_contain_text("base alone")


def edit(page: Page) -> None:
    """One memory's life in an editor: written, encoded, asked about, forgotten."""
    editor = page.locator(".memsci-panel", has=page.get_by_placeholder("A short paragraph"))
    editor.get_by_placeholder("A short paragraph").fill("Ada hid a red kite in the piano.")
    editor.get_by_placeholder("its name in lists").fill("Ada's kite")
    editor.get_by_role("button", name="Encode").click()
    memories = editor.locator("select")
    expect(memories.locator("option")).to_have_text(["Ada's kite"])
    expect(editor.locator("svg[role=img]")).to_be_visible()

    question = editor.get_by_placeholder("about one of the memories")
    expect(editor.get_by_role("button", name="Answer", exact=True)).to_be_enabled()
    question.fill("What did Ada hide?")
    question.press("Enter")
    expect(editor.locator(".memsci-said")).to_have_count(1)
    expect(editor).to_contain_text("Opened widest: Ada's kite (gate 1.0000)")

    memories.select_option("Ada's kite")
    editor.get_by_role("button", name="Forget").click()
    editor.get_by_role("button", name="Really forget").click()
    expect(memories.locator("option")).to_have_count(0)
    expect(editor.get_by_role("button", name="Forget")).to_be_disabled()


def step(page: Page) -> None:
    """A walk by keyboard: on, back, to its end, without a context; all of it named, and nothing that axe finds."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra dev brings it").Axe()
    walk = page.locator(".memsci-walk")
    charts = walk.locator(".memsci-charts svg[role=img]")
    expect(charts).to_have_count(3)
    expect(walk.locator(".memsci-legend")).to_contain_text("order put in by τ")
    expect(walk).to_contain_text("Recalled so far: nothing yet")
    walk.get_by_role("button", name="Next", exact=True).press("Enter")
    expect(walk).to_contain_text("Step 1 of")
    expect(walk.get_by_role("meter", name="recalled last: the cue")).to_have_count(1)
    walk.get_by_role("button", name="Back", exact=True).press("Enter")
    expect(walk).to_contain_text("Step 0 of")
    walk.get_by_role("button", name="Whole walk").press("Enter")
    expect(walk).to_contain_text("The walk is over")
    handles = walk.locator(".noUi-handle")
    assert handles.evaluate_all("all => all.slice(0, 4).map(one => one.ariaLabel)") == ["β", "τ", "β_enc", "β_rec"]
    handles.nth(1).press("Home")
    expect(walk.locator(".memsci-legend")).not_to_contain_text("put in by τ")
    expect(walk.locator(".memsci-legend")).to_contain_text("τ = 0: keys alone")
    found = axe.run(page, context=".memsci-walk").response["violations"]
    assert [(one["id"], one["nodes"]) for one in found if one["impact"] in ("serious", "critical")] == []


def in_jupyterlab(browser: Browser, folder: Path, name: str, work: Path, do: Callable[[Page], None]) -> None:
    """Run a notebook and do something with its widgets."""
    with driving.lab(folder, work) as address:
        page, watch = driving.new_page(browser)
        driving.run_all(page, address.format(name=name))
        assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        assert page.locator(".jp-OutputArea-output[data-mime-type*='error']").all_inner_texts() == []
        do(page)
        page.context.close()
    assert watch.outside == []
    assert watch.errors == []


def test_the_probe_of_the_notebook_in_jupyterlab(browser: Browser, tmp_path):
    in_jupyterlab(browser, ROOT / "notebooks", "02-gating.ipynb", tmp_path, use)


@pytest.mark.parametrize(("code", "do"), [(EDITOR, edit), (WALK, step)], ids=["editor", "walk"])
def test_a_widget_of_one_cell_in_jupyterlab(browser: Browser, tmp_path, code, do):
    (tmp_path / "written").mkdir()
    cells = [nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=METADATA), tmp_path / "written" / "one.ipynb")
    in_jupyterlab(browser, tmp_path / "written", "one.ipynb", tmp_path, do)


def test_the_page_of_a_store(browser: Browser, store, tmp_path):
    with driving.probe(store, tmp_path) as address:
        page, watch = driving.new_page(browser)
        page.goto(address)
        expect(page.locator(".memsci-map-cell")).to_have_count(16, timeout=180 * SECONDS)
        use(page)
        assert page.title() == "memsci probe"
        page.context.close()
    assert watch.outside == []
    assert watch.errors == []


def test_the_page_follows_the_browsers_mode_and_axe_finds_nothing_serious_in_either(browser: Browser, store, tmp_path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra dev brings it").Axe()
    shade = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    with driving.probe(store, tmp_path) as address:
        for dark in (False, True):
            page, watch = driving.new_page(browser, dark=dark)
            page.goto(address)
            expect(page.locator(".memsci-map-cell")).to_have_count(16, timeout=180 * SECONDS)
            page.get_by_role("button", name="Answer", exact=True).click()
            expect(page.locator(".memsci-said")).to_have_count(2)
            found = axe.run(page).response["violations"]
            assert [(one["id"], one["nodes"]) for one in found if one["impact"] in ("serious", "critical")] == []
            assert (max(page.evaluate(shade)) < 64) if dark else (min(page.evaluate(shade)) > 192)
            expect(page.locator("body")).to_have_attribute("data-jp-theme-light", str(not dark).lower())
            page.emulate_media(color_scheme="light" if dark else "dark")  # which may change while one looks on
            expect(page.locator("body")).to_have_attribute("data-jp-theme-light", str(dark).lower())
            assert (min(page.evaluate(shade)) > 192) if dark else (max(page.evaluate(shade)) < 64)
            page.context.close()
            assert watch.outside == [] and watch.errors == []
