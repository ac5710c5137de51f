"""The pages of the site that lie elsewhere in the repository: README, notebooks, the rooms of the package.

A page keeps the links that it has in the repository; here they are led to the page of the site, or to a copy of the file.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path, PurePosixPath

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {  # of the repository, and what they are called in the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "memsci/assets/base/README.md": "model-card.md",
    "memsci/assets/base-2/README.md": "model-card-2.md",
}
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)\s#]+)((?:#[^)\s]*)?\))")
NAMED = re.compile(r"^(```\w+) file=(\S+)$", re.MULTILINE)  # a file in a fence
ANSI = re.compile(r"\x1b\[[\d;]*m")


def place(path: str) -> str:
    """Where a file of the repository stands in the site."""
    if path in PAGES:
        return PAGES[path]
    if re.fullmatch(r"notebooks/[\w-]+\.ipynb", path):
        return path.removesuffix(".ipynb") + ".md"
    if path.startswith("notebooks/images/"):
        return path
    if room := re.fullmatch(r"(memsci(?:/\w+)?)/__init__\.py", path):
        return f"reference/{room[1].rpartition('/')[2]}.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}"


def linked(text: str, origin: str) -> Iterator[str]:
    """The files of the repository that a page leads to."""
    for part in FENCED.split(text)[::2]:
        for _, link, _ in LINK.findall(part):
            yield os.path.normpath(PurePosixPath(origin).parent / link)


def led(text: str, origin: str) -> str:
    """A page of the repository, with its links as they are in the site."""
    here = PurePosixPath(place(origin)).parent

    def lead(link: re.Match) -> str:
        target = os.path.normpath(PurePosixPath(origin).parent / link[2])
        return link[1] + os.path.relpath(place(target), here) + link[3]

    parts = FENCED.split(text)
    return "".join(part if number % 2 else LINK.sub(lead, part) for number, part in enumerate(parts))


def on_files(files, config):
    """Add what lies outside docs/."""
    texts = {f"docs/{file.src_uri}": file.content_string for file in files if file.src_uri.endswith(".md")}
    add = lambda uri, content: files.append(File.generated(config, uri, content=content))
    for path in PAGES:
        texts[path] = (ROOT / path).read_text(encoding="utf-8")
        if path.startswith("memsci/"):  # the card begins with what the hub reads
            texts[path] = texts[path].partition("\n---\n")[2]
        add(place(path), led(texts[path], path))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        path = notebook.relative_to(ROOT).as_posix()
        texts[path], pictures = page_of_notebook(notebook)
        add(place(path), led(texts[path], path))
        for name, picture in pictures.items():
            add(f"notebooks/{name}", picture)
    for uri, text in rooms():
        add(uri, text)
    targets = {target for origin, text in texts.items() for target in linked(text, origin)}
    for target in sorted(targets):
        copied = not target.startswith("docs/") and not place(target).endswith(".md")
        if copied and (ROOT / target).is_file():
            files.append(File.generated(config, place(target), abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Lead the links of the pages in docs/, and give files in fences their names as titles."""
    markdown = NAMED.sub(r'\1 title="\2"', markdown)
    return markdown if page.file.generated_by else led(markdown, f"docs/{page.file.src_uri}")


def on_post_page(output, page, config):
    """Say what the dialog of the search is."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def on_config(config):
    """Notebooks, lab notes and rooms enter the navigation by themselves."""
    for section in config.nav:
        (title, pages), *_ = section.items()
        if title == "Notebooks":
            pages += [place(f"notebooks/{path.name}") for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
        elif title == "Results":
            pages += [f"notes/{path.name}" for path in sorted((ROOT / "docs" / "notes").glob("*.md"))]
        elif title == "Reference":
            pages[1:1] = [uri for uri, _ in rooms()]
    return config


# Notebooks, as they were run and kept


def page_of_notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by name. Nothing is run."""
    cells, parts, pictures = json.loads(path.read_text(encoding="utf-8"))["cells"], [], {}
    for cell in cells:
        source = _text(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        told = iter(cell["metadata"].get("alt", ()))  # alternative texts of the cell's figures, in their order
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"images/{path.stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(_text(data["image/png"]))
                parts.append(f"![{next(told, '')}]({name})")
            elif "text/html" in data:
                html = re.sub(r"<style.*?</style>", "", _text(data["text/html"]), flags=re.DOTALL)
                html = re.sub(r' (border|class|style)="[^"]*"', "", html)
                html = re.sub(r"<th></th>", "<td></td>", html)  # a header of nothing
                html = "".join(line.strip() for line in html.splitlines())
                parts.append(f'<div class="output" tabindex="0">{html}</div>')
            else:
                said = ANSI.sub("", _text(output.get("text") or data.get("text/plain", ""))).rstrip("\n")
                parts.append(f'<div class="output"><pre><code>{escape(said)}</code></pre></div>')
    return "\n\n".join(parts) + "\n", pictures


def _text(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)


# The reference, a page for each room


def rooms() -> Iterator[tuple[str, str]]:
    """Address and text of the page of every room: what its modules say of their public names."""
    package = ROOT / "memsci"
    top = [path for path in sorted(package.glob("*.py")) if not path.name.startswith("_")]
    folders = [path.parent for path in sorted(package.glob("*/__init__.py"))]
    yield "reference/memsci.md", _room("memsci", package / "__init__.py", top)
    for folder in folders:
        modules = [path for path in sorted(folder.glob("*.py")) if not path.name.startswith("_")]
        yield f"reference/{folder.name}.md", _room(f"memsci.{folder.name}", folder / "__init__.py", modules)


def _room(name: str, init: Path, modules: list[Path]) -> str:
    of = lambda path: ".".join(path.relative_to(ROOT).with_suffix("").parts)
    itself = f"::: {name}\n    options: {{heading_level: 1, members: []}}"
    return "\n\n".join([itself, *(f"::: {of(path)}" for path in modules)])
