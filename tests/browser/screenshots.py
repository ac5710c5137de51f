"""Pictures of the probe for the README, taken in a real browser: ``make screenshots``.

In JupyterLab, light and dark, it is the end of notebook 02; on its own page it is `memsci probe` without a store. β is low
enough for a mixture of memories.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import driving
from driving import ROOT, SECONDS
from playwright.sync_api import Page, expect, sync_playwright

from memsci.widgets.gate_probe import BETAS

BETA = 0.125
TALL = 1500  # pixels: all of the page of its own


def speak(page: Page) -> None:
    """Open several memories, let the model answer, and wait for it and for the base."""
    probe = page.locator(".memsci-probe").first
    handle = probe.locator(".noUi-handle").first
    handle.press("Home")
    for _ in range(BETAS.index(BETA)):
        handle.press("ArrowRight")
    probe.get_by_text(f"{BETA:g}", exact=True).wait_for()
    page.wait_for_function(
        "() => { const bars = [...document.querySelectorAll('.memsci-bar-value')].map(one => Number(one.innerText));"
        " return Math.max(...bars) < 0.9999 && new Set(bars).size > 2; }"
    )
    probe.get_by_role("button", name="Answer", exact=True).click()
    page.wait_for_function(
        "() => { const said = [...document.querySelectorAll('.memsci-said')];"
        " return said.length >= 2 && said.every(one => one.innerText !== '…'); }",
        timeout=120 * SECONDS,
    )


def main(folder: Path) -> None:
    """Take all pictures into a folder."""
    if driving.chromium() is None:
        sys.exit("There is no Chromium here. Install it, or name it in MEMSCI_CHROMIUM.")
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory(prefix="memsci-") as work:
        browser = driving.start(playwright)
        for name, theme in (("lab-light", "JupyterLab Light"), ("lab-dark", "JupyterLab Dark")):
            here = Path(work) / name
            here.mkdir()
            with driving.lab(ROOT / "notebooks", here, theme) as address:
                page, _ = driving.new_page(browser, dark="Dark" in theme)
                driving.run_all(page, address.format(name="02-gating.ipynb"))
                page.locator(".memsci-probe").first.scroll_into_view_if_needed()
                speak(page)
                page.screenshot(path=folder / f"probe-{name}.png")
                page.context.close()
        here = Path(work) / "voila"
        here.mkdir()
        with driving.probe(None, here) as address:
            page, _ = driving.new_page(browser, height=TALL)
            page.goto(address)
            page.wait_for_selector(".memsci-map-cell", timeout=300 * SECONDS)
            speak(page)
            expect(page.locator(".memsci-map-scale").first).to_be_in_viewport(ratio=1)
            page.screenshot(path=folder / "probe-page.png", full_page=True)
            page.context.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
