"""The page of ``memsci probe`` as it is served; no browser is needed."""

from __future__ import annotations

import re
import socket
import sys
import urllib.request
from urllib.parse import urlsplit

import driving
import pytest

from memsci.errors import MemsciError
from memsci.widgets.serve import serve


def test_only_who_has_the_token_gets_the_page_and_it_asks_no_other_machine(tmp_path):
    with driving.probe(None, tmp_path) as address:
        parts = urlsplit(address)
        assert parts.hostname == "127.0.0.1" and len(parts.query) > 30
        with urllib.request.urlopen(f"http://{parts.netloc}/") as answer:  # led to where the token can be typed
            assert urlsplit(answer.url).path == "/login"
        with urllib.request.urlopen(address) as answer:
            assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
            html = answer.read().decode()
    assert "application/vnd.jupyter.widget-view+json" in html
    assert re.findall(r"""(?:src|href)=["']?(?:https?:)?//[^"'> ]+""", html) == []


def test_a_port_that_is_taken_and_a_folder_without_a_store_are_told_of(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(MemsciError, match=r"Port \d+ cannot be had .* leave --port out"):
            serve(port=taken.getsockname()[1])
    with pytest.raises(MemsciError, match="store"):
        serve(tmp_path)


def test_without_voila_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "voila.app", None)
    with pytest.raises(MemsciError, match=r'pip install "memsci\[notebooks\]"'):
        serve()
