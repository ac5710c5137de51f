"""By what code, on what, and when: what is written down beside numbers, so that they can be made again."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from memsci import __version__

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pandas", "scikit-learn", "sentence-transformers")
CHANGED = "+"  # ends a commit whose files were changed since


@cache  # a process computes with the code that it has read, whatever becomes of the files
def commit() -> str | None:
    """The commit of the code, with "+" if it was changed since; None outside of a repository."""
    here = Path(__file__).parent
    ask = lambda *words: (
        subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True).stdout
    )
    try:
        ask("ls-files", "--error-unmatch", "__init__.py")  # an installed copy may lie in a repository of something else
        changed = ask("status", "--porcelain", "--", str(here.parent))
        return ask("rev-parse", "HEAD").strip() + (CHANGED if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    """Versions of memsci, of Python, and of the packages that numbers depend on."""
    return {
        "memsci": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def device(asked: str | None) -> str:
    """Where a model goes that is asked onto this device, or onto none: by name, a GPU also by its make."""
    torch = sys.modules.get("torch")  # what has not needed it has run on the processor
    on_gpu = torch is not None and torch.cuda.is_available()
    name = asked or ("cuda" if on_gpu else "cpu")
    return f"{name} ({torch.cuda.get_device_name(name)})" if on_gpu and name.startswith("cuda") else name


def now() -> str:
    """The time in UTC, to the second; later times are greater texts."""
    return datetime.now(UTC).isoformat(timespec="seconds")
