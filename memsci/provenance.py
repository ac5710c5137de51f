"""The code, the device and the time of a result: what is written beside numbers, so that they can be made again."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from memsci import __version__

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pandas", "scikit-learn", "sentence-transformers")
CHANGED = "+"  # ends a commit whose files were changed since


@cache  # a process computes with the code that it has read, whatever becomes of the files
def commit(*paths: str) -> str | None:
    """The commit of the code, with "+" if one of these paths of the repository (default: any) was changed since.

    None outside of a repository.
    """
    here = Path(__file__).parent
    git = lambda folder, *words: (
        subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout
    )
    try:
        git(here, "ls-files", "--error-unmatch", "__init__.py")  # an installed copy may lie in another repository
        changed = git(here.parent, "status", "--porcelain", "--", *(paths or ["."]))
        return git(here, "rev-parse", "HEAD").strip() + (CHANGED if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of memsci, of Python and of some packages. Default: the packages that numbers depend on."""
    return {"memsci": __version__, "python": platform.python_version(), **{name: version(name) for name in packages}}


def device(asked: str | None) -> str:
    """Name of the device on which a model runs, a GPU with its make; `asked` is the user's choice, None for the default."""
    torch = sys.modules.get("torch")  # without torch, all has run on the processor
    on_gpu = torch is not None and torch.cuda.is_available()
    name = asked or ("cuda" if on_gpu else "cpu")
    return f"{name} ({torch.cuda.get_device_name(name)})" if on_gpu and name.startswith("cuda") else name


def now() -> str:
    """The time in UTC, to the second; later times are greater strings."""
    return datetime.now(UTC).isoformat(timespec="seconds")
