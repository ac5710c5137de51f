"""What experiments are run on: partitions of memories, and items of general knowledge."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from memsci import data
from memsci.errors import check_in
from memsci.files import as_path
from memsci.memory import Memory, Partition, QuizItem

BUILT_IN, PUBLISHED = ("episodic", "semantic"), ("wiki", "fictional")
# Each is a data set of its own (`memsci.phenomena`), of which a partition is a list.
PHENOMENA = (
    "interference", "recognition", "cues", "misinformation", "list_length", "list_strength", "fan", "false_memory",
    "forgetting", "free_recall", "human_qa", "lifetime", "interference_plain", "cues_plain", "misinformation_plain",
    "list_strength_plain",
)  # fmt: skip
SIZED = ("lifetime",)  # of these, with settings of their own and lists of as many memories as are asked for
PARTITIONS = 20  # of each of the four
SIZE = 50  # memories of a partition that is cut from a table of the user's own


def dataset_name(dataset: str) -> str:
    """What tables call a data set: its name, or the name of the file."""
    if not Path(dataset).suffix:
        check_in("dataset", dataset, [*BUILT_IN, *PUBLISHED, *PHENOMENA, "the path of a table"])
    return Path(dataset).name


def partition(dataset: str, number: int, memories: int | None = None) -> Partition:
    """One partition of a data set: of the built-in world, of the published data, or of a table of the user's own.

    A table is cut into partitions of 50 memories, the last one shorter. `memories`: only the first so many; of a phenomenon
    what its own setting of this name says.
    """
    name = dataset_name(dataset)
    if dataset in (*BUILT_IN, *PUBLISHED):
        return _first(_published(dataset, number), memories)
    if dataset in PHENOMENA:
        from memsci.phenomena.experiment import material

        return Partition(f"{name}-{number}", tuple(material(dataset, number, memories)))
    path = as_path(dataset)
    try:
        status = path.stat()
    except OSError:
        status = None  # which its reader explains
    rows = _table(path, status and (status.st_mtime_ns, status.st_size))
    check_in(f"a partition of {dataset}", number, range(-(-len(rows) // SIZE)))
    return _first(Partition(f"{name}-{number}", rows[number * SIZE : (number + 1) * SIZE]), memories)


def _first(world: Partition, memories: int | None) -> Partition:
    return world if memories is None else world.first(memories)


@cache
def _published(dataset: str, number: int) -> Partition:
    return data.builtin(dataset, number) if dataset in BUILT_IN else data.published(dataset, number)


@cache
def _table(path: Path, state: tuple | None) -> tuple[Memory, ...]:
    """The memories of a table in this state: once it is changed, it is read anew."""
    return tuple(data.table(path))


def quiz_items(source: str, per_subject: int) -> list[QuizItem]:
    """General knowledge: of the built-in world ("built-in"), from MMLU on the hub ("mmlu"), or from a folder with MMLU.

    The paper's four subjects of MMLU are used whole up to `per_subject` items each.
    """
    if not per_subject:
        return []
    if source == "built-in":
        return data.quiz("test", per_subject)
    by_subject: dict[str, list[QuizItem]] = {}
    for item in data.mmlu(source=None if source == "mmlu" else source):
        by_subject.setdefault(item.subject, []).append(item)
    return [item for several in by_subject.values() for item in several[:per_subject]]
