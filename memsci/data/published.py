"""The two data sets that the paper's authors published (GitHub xup5/MEGA, MIT licence), read without trusting them.

The files are pickles, and a pickle is a program. `read_pickle` runs none of it: every class that a file asks for is
looked up in a short list and replaced by an inert record of what the file wanted to do; the table is then read out of
those records. No code of pandas or numpy is reached from a file, so neither an old module path nor a hostile file
matters.
"""

from __future__ import annotations

import io
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import pooch

from memsci.errors import MemsciError, check_in
from memsci.files import as_path, sha256
from memsci.memory import Memory, Partition

COMMIT = "7c6c1e71cce3f15a3e3619f2bc1c9a72b5193085"
URL = f"https://raw.githubusercontent.com/xup5/MEGA/{COMMIT}/dataset"
PARTITIONS = 20
FOLDERS = {"wiki": "wiki", "fictional": "fictional_character"}

_NAMES = (
    "Sharon_Boulos Gail_Cline Theodore_Hutton Linda_Porter Theresa_Mcclung Troy_Dagan Chad_Owen Arthur_Mccreight "
    "Vernon_Benincase Nicole_Jernigan April_Jefferson Betty_Brown Faye_Vedder Christopher_Parsons Wen_Zepp Brent_Moore "
    "Francis_Grant Paul_Black Eileen_Teasley Demetrius_Willard"
).split()

# SHA-256 of the files of partitions 0 to 9, in order.
CHECKSUMS = {
    "wiki": (
        "96a9dcc4ea5866c77a74a4f3d63792f401e66ec7204a980b61eae27f97e125d6",
        "3ad2f1294923e91e2ed5bfd793ff1c3c444ff53584ca329f9a36bca50596afa6",
        "68a0fb0c6ade9953560d6ea4d80a6354ec824de4d053732fa82da9e828017bb5",
        "cd35b5f1510956e83ca58b5f2d275b3df0139e3b04867163f1eb20f16a359468",
        "92ff3b8d0db4d93ccb6c656a1201bfa2f8a18bca599e5086a0cba4aefc57b6fb",
        "8e8c6bcef9355d15678a53de377923516bd83cb7801e35daf8ed1969d97f20ed",
        "3da6f7d355027d73a8063b0c00c7ab454badf1eb9657ba27906420f450127fa5",
        "8e7b853f4a120375defeff1fc86fd9a7627742bd5626cbf412f8a965e1f457c5",
        "a04a49d3847e167ba1aaa34b37eaadcbe038470ce77abcd548fce70fb0c29358",
        "e7ce24388a0eb4b02e2fa899ee40f9f2d6a45abb864d6a1f1b8045b8a620c3a2",
    ),
    "fictional": (
        "860bbb5af61cb2046852095ddc44b1a9cae73e5ebf8f74a713ec1daa572c1adb",
        "f6bd6c7de1ca6d54bfa652ed015c305933e44edca1e81e982578e73f3763d037",
        "56fae79606b64ed3488d154e68f546c294fe7b2da1b57a84ffa7402272a7101b",
        "7c8fc6fbeb789684f3ca01d1c662670a4c70688bbc307e21deab6eed2ee7403f",
        "4e0057cbe61d53193beb0deeec521f31be92d7f0e39a9686a66a9c503083ab01",
        "716a0c2eca074921ed40e214c29292295e4e81c972f4c5d617118e873c49158a",
        "af195d3d073f21ed4c13141fc6269779df4b67ae6069a4e586464e6959b28507",
        "6aacc38dc180c3c7f7c2d723273a2f534b6dd21a9c7baeef951778fa8cb9559d",
        "f5fb769275ae0b6da2196b7404ada097601c7be0fc0d0ccd9a72ff8684a0e6b1",
        "aaaa3e83e64a7d187535247bbf51f1763f4662ea86d0aa8247f19b677483b8fe",
    ),
}


def published(setting: str = "wiki", partition: int = 0, folder: str | Path | None = None) -> Partition:
    """One partition of the data published with the paper: 50 memories.

    Parameters
    ----------
    setting
        ``"wiki"``: first sections of Wikipedia articles created in 2024, each with 9 paraphrases and 3 questions.
        ``"fictional"``: stories about one fictional person; the authors published neither paraphrases nor questions.
    partition
        0 to 19.
    folder
        Where the files lie: ``<folder>/mega/wiki/*.pkl`` and ``<folder>/mega/fictional_character/*.pkl``. Default: the
        folder named by the environment variable ``MEMSCI_DATA``; without it the file is downloaded once from the
        authors' repository at a fixed commit and kept in the user's cache.

    Returns
    -------
    Partition
        Named e.g. ``wiki-3``, memories ``wiki-3-00`` to ``wiki-3-49``, texts exactly as published. The compositional
        questions of the paper are not public.

    Warns
    -----
    UserWarning
        Partitions 0 to 9 are checked against their SHA-256. No checksums are recorded for partitions 10 to 19: they are
        downloaded from the same fixed commit with a warning, and read just as cautiously.

    Notes
    -----
    Paper, section "Data". The texts of the Wiki set come from Wikipedia (CC BY-SA).
    """
    check_in("setting", setting, FOLDERS)
    check_in("partition", partition, range(PARTITIONS))
    folder = folder or os.environ.get("MEMSCI_DATA")
    path = _local(setting, partition, as_path(folder)) if folder else _download(setting, partition)
    name = f"{setting}-{partition}"
    try:
        content = read_pickle(path.read_bytes())
        memories = _wiki(content, name) if setting == "wiki" else _fictional(content, name)
    except OSError as error:
        raise MemsciError(f"{path}: the file cannot be read ({error.strerror or error}).") from None
    except MemsciError as error:
        raise MemsciError(f"{path}: {error}") from None
    return Partition(name, tuple(memories))


def file_name(setting: str, partition: int) -> str:
    """The authors' name of a partition's file."""
    if setting == "wiki":
        return f"wiki_length_200_300_{partition}.pkl"
    return f"character_dataset_{partition}_{_NAMES[partition]}.pkl"


def _checksum(setting: str, partition: int) -> str | None:
    known = CHECKSUMS[setting]
    return known[partition] if partition < len(known) else None


def _local(setting: str, partition: int, folder: Path) -> Path:
    path = folder / "mega" / FOLDERS[setting] / file_name(setting, partition)
    if not path.is_file():
        raise MemsciError(
            f"{path}: there is no such file. Partitions are looked for in the folder given, or in that "
            "of the environment variable MEMSCI_DATA; unset it to download them from the authors' own."
        )
    expected = _checksum(setting, partition)
    if expected and sha256(path) != expected:
        raise MemsciError(f"{path}: this is not the published file (its SHA-256 differs). Get it again from {URL}.")
    return path


def _download(setting: str, partition: int) -> Path:
    url = f"{URL}/{FOLDERS[setting]}/{file_name(setting, partition)}"
    expected = _checksum(setting, partition)
    if expected is None:
        warnings.warn(f"No checksum is recorded for {url}: it is taken from its fixed commit unchecked.", stacklevel=3)
    try:
        # Commits apart, so that another commit's file of the same name is never taken for this one.
        return Path(
            pooch.retrieve(
                url,
                expected and f"sha256:{expected}",
                path=pooch.os_cache("memsci") / COMMIT[:12],
                fname=file_name(setting, partition),
            )
        )
    except (OSError, ValueError) as error:  # no network; a checksum that differs
        raise MemsciError(
            f"{url} could not be downloaded ({error}). Put the file into a folder and name that folder "
            "in the environment variable MEMSCI_DATA."
        ) from None


class _Node:
    """What a file wanted to build: the name of the class, what it was called with, the state it was given."""

    def __new__(cls, *args: Any) -> _Node:
        node = super().__new__(cls)
        node.args, node.state = args, None
        return node

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __repr__(self) -> str:
        return type(self).__name__


# All that the published files ask for, and their names in other versions: pandas from 3, numpy before 2.
_ALLOWED = {
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.internals.managers", "BlockManager"),
    ("pandas._libs.internals", "_unpickle_block"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.range", "RangeIndex"),
    ("pandas", "DataFrame"),
    ("pandas", "Index"),
    ("pandas", "RangeIndex"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("builtins", "slice"),
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Node]:
        if (module, name) not in _ALLOWED:
            raise MemsciError(
                f"the file asks for {module}.{name}, which is not among the few classes that a published "
                "partition needs. It was refused, and nothing of it was run. Do not trust this file."
            )
        # A new class at each request: whatever a file may set on it dies with the file.
        return type(name, (_Node,), {})


def read_pickle(content: bytes) -> Any:
    """The plain values in a pickle of the published kind: a list of strings, or {column: list of cells} for a frame.

    A damaged pickle, or one that asks for a class outside the list, is refused; nothing that it names is imported or called.
    """
    try:
        value = _Reader(io.BytesIO(content)).load()
        return _columns(value) if isinstance(value, _Node) else value
    except MemsciError:
        raise
    # A damaged or hostile file can make the reader fail in any way; each means the same to the user.
    except Exception as error:
        raise MemsciError(f"not a readable pickle of the published kind ({type(error).__name__}: {error}).") from None


def _columns(frame: _Node) -> dict[str, list[Any]]:
    """{column: cells} of a recorded frame: _mgr = BlockManager(blocks, [columns, rows]), blocks of object cells."""
    blocks, (columns, _) = _of(frame.state["_mgr"], "BlockManager").args
    _, axis = _of(columns, "_new_Index").args
    names, _ = _array(axis["data"])
    table: dict[str, list[Any]] = {}
    for block in blocks:
        values, placement, _ = _of(block, "_unpickle_block").args
        cells, (width, height) = _array(values)
        where = range(len(names))[slice(*_of(placement, "slice").args)]
        if len(where) != width or len(cells) != width * height:
            raise MemsciError(f"{len(cells)} cells do not fill {height} rows of {len(where)} columns.")
        for k, column in enumerate(where):
            table[names[column]] = cells[k * height : (k + 1) * height]
    return table


def _array(array: Any) -> tuple[list[Any], tuple[int, ...]]:
    """Cells, row by row whatever their order in memory, and shape of a recorded object array."""
    _, shape, dtype, _, cells = _of(array, "_reconstruct").state
    if not isinstance(cells, list):
        raise MemsciError(f"an array of Python objects is needed, not of {_of(dtype, 'dtype').args[0]!r}.")
    return cells, shape


def _of(node: Any, name: str) -> _Node:
    if not isinstance(node, _Node) or type(node).__name__ != name:
        raise MemsciError(f"{name} is needed where the file has {node!r:.60}.")
    return node


def _wiki(content: Any, name: str) -> list[Memory]:
    columns = ["Theme", "Passage", "QA", "Paraphrases"]
    if not isinstance(content, dict) or sorted(content) != sorted(columns):
        raise MemsciError(f"a table with the columns {', '.join(columns)} is needed.")
    return [
        Memory(passage, f"{name}-{row:02d}", theme, paraphrases, questions)
        for row, (theme, passage, questions, paraphrases) in enumerate(zip(*(content[c] for c in columns), strict=True))
    ]


def _fictional(content: Any, name: str) -> list[Memory]:
    if not isinstance(content, list):
        raise MemsciError("a list of stories is needed.")
    return [Memory(story, f"{name}-{row:02d}") for row, story in enumerate(content)]
