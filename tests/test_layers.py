"""The package is a stack of layers: a module imports only from layers below its own, and the lower ones are light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "memsci"

# From the bottom up, a line per room: a package of memsci, or modules at its root. Imports point to what stands before.
ROOMS = (
    "errors later files provenance words memory prompts config",  # the vocabulary
    "world",
    "data",
    "models",
    "adapters",
    "gate",
    "store",
    "measures",
    "lifetime",
    "learners",
    "figures",
    "evaluate",
    "phenomena",
    "experiments",
    "runs",
    "demo",
    "widgets",
    "pretraining",
    "cli",
    "__init__ __main__",
)
LAYERS = " ".join(ROOMS).split()
LIGHT = ("errors", "later", "files", "provenance", "words", "memory", "prompts", "config", "world", "measures", "figures")
HEAVY = ("torch", "transformers", "tokenizers", "sentence_transformers", "safetensors")

MODULES = sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    """The module or subpackage of memsci that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, path: Path) -> Iterator[str]:
    """Full dotted names of all that a file imports, at its top, within functions and for type checkers."""
    package = ("memsci", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*start, *([node.module] if node.module else [])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def layers_used(text: str, path: Path) -> set[str]:
    """The layers of memsci that a file with this text imports, its own left out."""
    names = [name.split(".") for name in imports(ast.parse(text), path)]
    return {parts[1] for parts in names if parts[0] == "memsci" and len(parts) > 1} - {layer(path)}


def violations(text: str, path: Path) -> list[str]:
    """The layers that a file may not import and does. Public names of the package itself count as its top."""
    own = LAYERS.index(layer(path))
    index = lambda used: LAYERS.index(used if used in LAYERS else "__init__")
    return sorted(used for used in layers_used(text, path) if index(used) > own and used != "__version__")


def called(text: str) -> set[str]:
    """Dotted names of all that is called, as written: ``torch.load``, ``self.model.forward``, ``print``."""
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    assert layer(path) in LAYERS, f"give {layer(path)} its line in ROOMS"
    assert violations(path.read_text(encoding="utf-8"), path) == []


def test_every_layer_is_there_and_the_root_is_not_a_heap():
    assert set(LAYERS) == {layer(path) for path in MODULES}
    files = [path.name for path in PACKAGE.iterdir() if path.is_file()]
    assert len(files) <= 12, f"put some of {sorted(files)} into a room"


@pytest.mark.parametrize(
    ("text", "file", "found"),
    [
        ("from ..learners.mega import MEGa", "gate/softmax.py", ["learners"]),
        ("from memsci import evaluate", "store/store.py", ["evaluate"]),
        ("import memsci.evaluate as e", "figures/draw.py", ["evaluate"]),
        ("def f():\n    from .. import cli", "world/stories.py", ["cli"]),
        ("from memsci import MEGa", "measures/metrics.py", ["MEGa"]),
        ("from . import pools\nfrom ..errors import MemsciError", "world/stories.py", []),
        ("from memsci.gate import softmax\nimport torch", "learners/mega.py", []),
    ],
)
def test_the_rule_sees_every_form_of_import(text, file, found):
    assert violations(text, PACKAGE / file) == found


@pytest.mark.parametrize("path", [path for path in MODULES if layer(path) in LIGHT], ids=lambda p: p.stem)
def test_light_layers_name_no_heavy_package(path):
    used = {name.split(".")[0] for name in imports(ast.parse(path.read_text(encoding="utf-8")), path)}
    assert used.isdisjoint(HEAVY)


def loaded_by(*modules: str) -> set[str]:
    """What is in memory after a new Python has imported these modules."""
    code = f"import sys, importlib\nfor m in {modules}: importlib.import_module(m)\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_light_layers_load_no_torch_by_detour():
    light = [path.relative_to(PACKAGE.parent).with_suffix("") for path in MODULES if layer(path) in LIGHT]
    modules = [".".join(path.parts).removesuffix(".__init__") for path in light]
    assert {"memsci.errors", "memsci.measures.metrics", "memsci.world.grammar"} <= set(modules)
    assert loaded_by(*modules).isdisjoint(HEAVY)


def test_the_package_and_the_program_start_light():
    assert loaded_by("memsci").isdisjoint({*HEAVY, "numpy", "pandas", "memsci.models", "memsci.learners"})
    assert loaded_by("memsci.cli").isdisjoint({*HEAVY, "numpy", "pandas", "matplotlib"})
    # On the way to an answer, whose time is that of its imports.
    asks = ("memsci.cli.asking", "memsci.learners", "memsci.learners.mega", "memsci.store.store")
    assert loaded_by(*asks).isdisjoint({"pandas", "matplotlib", "scipy", "sklearn", "sentence_transformers"})


def test_only_models_reads_pretrained_weights_and_only_mixture_alters_a_forward():
    for path in MODULES:
        names = {name.rsplit(".", 1)[-1] for name in called(path.read_text(encoding="utf-8"))}
        assert layer(path) == "models" or "from_pretrained" not in names, path
        assert path.stem == "mixture" or "register_forward_hook" not in names, path
        reads_activations = path.stem in {"mixture", "embed"} or layer(path) == "pretraining"
        assert reads_activations or "register_forward_pre_hook" not in names, path


def test_nothing_is_unpickled_unseen():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert called(text).isdisjoint({"pickle.load", "pickle.loads", "pd.read_pickle", "pandas.read_pickle"}), path
        loads = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        for call in loads:
            if ast.unparse(call.func) == "torch.load":
                assert {k.arg: ast.unparse(k.value) for k in call.keywords}.get("weights_only") == "True", path


def test_public_names():
    import memsci

    assert sorted(memsci.__all__) == dir(memsci)
    for name in memsci.__all__:
        assert getattr(memsci, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'remember'"):
        memsci.remember  # noqa: B018
