"""Serving the page of ``memsci probe`` with Voila: to this machine alone, behind a token, all of it from here."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from importlib.resources import as_file, files

from memsci.errors import MemsciError

HOST = "127.0.0.1"
# Through these the page's kernel learns which store to open, and on which base.
STORE, BASE = "MEMSCI_PROBE_STORE", "MEMSCI_PROBE_BASE"
# What the page is made of; an extension of JupyterLab that happens to be installed has no place on it.
EXTENSIONS = ["@voila-dashboards/widgets-manager8", "@jupyter-widgets/jupyterlab-manager", "anywidget"]
# With this the browser itself refuses whatever would come from another machine or go to one. Widgets run code that the
# kernel sends (blob:), and bring their styles and pictures with them (data:).
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; "
    "style-src 'self' 'unsafe-inline' blob:; img-src 'self' blob: data:; font-src 'self' data:; "
    "connect-src 'self' blob: data:; frame-ancestors 'self'"
)


def serve(
    store: str | os.PathLike[str] | None = None,
    base: str | None = None,
    port: int = 0,
    token: str | None = None,
    ready: Callable[[str], object] = print,
) -> None:
    """Serve the page until the process is interrupted; every browser tab has a kernel of its own.

    Parameters
    ----------
    store
        Folder of a store. None encodes a few built-in memories when the page is opened.
    base
        Base model: a name on the hub or a folder. None means the one named in the store, or the shipped model.
    port
        Port of 127.0.0.1; 0 finds a free one.
    token
        What a browser has to know to be let in; None makes one up.
    ready
        Called with the whole address, token included, once it can be opened.
    """
    try:
        from voila.app import Voila
    except ImportError as error:
        raise MemsciError('Voila serves the probe and is not installed: pip install "memsci[notebooks]".') from error
    if store is not None:
        from memsci.store.store import Store

        store = str(Store.open(store).path.resolve())
    for name, value in ((STORE, store), (BASE, base)):
        os.environ.pop(name, None)  # of an earlier page
        if value is not None:
            os.environ[name] = value
    port, token = _free(port), token or secrets.token_urlsafe(24)

    class Server(Voila):
        def launch_browser(self) -> None:  # which Voila calls once it listens
            ready(f"http://{HOST}:{port}/?token={token}")

    with as_file(files("memsci") / "assets" / "probe") as folder:
        # Voila looks for templates where Jupyter keeps its data.
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (str(folder), os.environ.get("JUPYTER_PATH"))))
        server = Server(ip=HOST, port=port, port_retries=0, token=token, log_level="ERROR", config_file_paths=[])
        # In ms, one no longer than the other: tornado complains in the terminal of Jupyter's defaults, and a busy machine
        # may answer late.
        pings = {"ws_ping_interval": 90_000, "ws_ping_timeout": 90_000}
        server.tornado_settings = {"headers": {"Content-Security-Policy": POLICY}, **pings}
        server.config.VoilaConfiguration.update(
            template="memsci", allow_template_override="NO", extension_allowlist=EXTENSIONS
        )
        server.initialize([str(folder / "probe.ipynb")])
        server.start()


def _free(port: int) -> int:
    """The port itself if it can be had; for 0, one that is free."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError as error:
            raise MemsciError(
                f"Port {port} cannot be had ({error.strerror}). Choose another, or leave --port out for a free one."
            ) from error
        return tried.getsockname()[1]
