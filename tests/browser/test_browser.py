"""A real browser: the gate probe in JupyterLab and on its own page, by mouse and by keyboard."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from pathlib import Path

import pytest

if importlib.util.find_spec("playwright") is None:
    pytest.skip("Playwright is not installed (the extra dev brings it)", allow_module_level=True)

import driving
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
    probe.get_by_role("button", name="Own gate").click()
    expect(probe).not_to_contain_text("Set by hand")

    # And the model speaks.
    probe.get_by_role("button", name="Answer").click()
    expect(probe.locator(".memsci-said")).to_have_count(2)
    expect(probe.locator(".memsci-replies")).to_contain_text("base alone")


def test_the_probe_of_the_notebook_in_jupyterlab(browser: Browser, tmp_path):
    with driving.lab(ROOT / "notebooks", tmp_path) as address:
        page, watch = driving.new_page(browser)
        driving.run_all(page, address.format(name="02-gating.ipynb"))
        assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        assert page.locator(".jp-OutputArea-output[data-mime-type*='error']").all_inner_texts() == []
        use(page)
        page.context.close()
    assert watch.outside == []
    assert watch.errors == []


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
