"""A real browser, JupyterLab and the probe's page: what the tests and the screenshots both drive."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request

ROOT = Path(__file__).parents[2]
HERE = "127.0.0.1"
# Nothing of Chromium's own goes to the network, and it starts as root and in small containers too.
SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
RUN_ALL = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  await window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""
PATIENCE = 180  # seconds for a server to start, on a machine with other things to do
SECONDS = 1000  # Playwright counts milliseconds


def chromium() -> str | None:
    """The Chromium of this machine, or the one that MEMSCI_CHROMIUM names."""
    named = os.environ.get("MEMSCI_CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def start(playwright: Playwright) -> Browser:
    """The browser, without a window."""
    return playwright.chromium.launch(executable_path=chromium(), args=SWITCHES, timeout=120 * SECONDS)


class Watch:
    """What a page did that it should not: requests to other machines, errors in its console."""

    def __init__(self, page: Page) -> None:
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._request)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in {"http", "https", "ws", "wss"} and address.hostname != HERE:
            self.outside.append(request.url)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")


def new_page(browser: Browser, dark: bool = False, width: int = 1280, height: int = 1000) -> tuple[Page, Watch]:
    """A tab with a profile of its own, and what watches it."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", device_scale_factor=1
    )
    page = context.new_page()
    page.set_default_timeout(120 * SECONDS)
    return page, Watch(page)


@contextmanager
def lab(folder: Path, work: Path, theme: str = "JupyterLab Light") -> Iterator[str]:
    """JupyterLab on a copy of a folder; its address, with ``{name}`` for the notebook.

    Parameters
    ----------
    folder
        The notebooks.
    work
        An empty folder for the copy, and for settings of its own, so that the user's play no part.
    theme
        Name of the theme.
    """
    copy = work / "notebooks"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    settings = work / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    # The question whether to show news goes to the network, and stands before the notebook.
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
    token, port = secrets.token_urlsafe(16), free_port()
    environment = environment_of(work) | {"JUPYTER_TOKEN": token}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ip={HERE}", f"--port={port}",
        "--ServerApp.port_retries=0", f"--ServerApp.root_dir={copy}", "--ServerApp.terminals_enabled=False",
        "--LabApp.extension_manager=readonly", "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with served(command, environment, work / "lab.log") as server:
        wait_for(f"http://{HERE}:{port}/api?token={token}", server, work / "lab.log")
        yield f"http://{HERE}:{port}/lab/tree/{{name}}?token={token}"


@contextmanager
def probe(store: Path | None, work: Path) -> Iterator[str]:
    """``memsci probe``; the address that it prints."""
    command = [sys.executable, "-m", "memsci", "probe", "--no-browser", *([str(store)] if store else [])]
    with served(command, environment_of(work), log := work / "probe.log") as server:
        end = time.monotonic() + PATIENCE
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", log.read_text(encoding="utf-8"))):
            check_alive(server, log, end)
        yield found[0]


@contextmanager
def served(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """A server, and the end of it and of its kernels."""
    with log.open("w", encoding="utf-8") as file:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def environment_of(work: Path) -> dict[str, str]:
    """The environment of a server that reads and writes the user's settings nowhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "MEMSCI_PROBE"))}
    own = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
    }
    folders = {name: str(work / folder) for name, folder in own.items()}
    return kept | folders | {"JUPYTERLAB_WORKSPACES_DIR": str(work / "workspaces"), "PYTHONUNBUFFERED": "1"}


def free_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as tried:
        tried.bind((HERE, 0))
        return tried.getsockname()[1]


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    """Until a server answers."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            check_alive(server, log, end)


def check_alive(server: subprocess.Popen, log: Path, end: float) -> None:
    """A moment's patience, unless there is nothing to wait for."""
    if server.poll() is not None or time.monotonic() > end:
        raise RuntimeError(f"The server did not start:\n{log.read_text(encoding='utf-8')[-4000:]}")
    time.sleep(0.2)


def run_all(page: Page, address: str) -> None:
    """Open a notebook in JupyterLab, run every cell, and wait until all have run."""
    page.goto(address)
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.context?.ready !== undefined")
    page.evaluate(RUN_ALL)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=300 * SECONDS)
