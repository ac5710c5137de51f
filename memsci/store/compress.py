"""A smaller copy of a store: the few ranks that hold the energy of each adapter, and fewer bytes for each number."""

from __future__ import annotations

import os
from dataclasses import replace

from memsci.adapters.lora import Adapter
from memsci.adapters.truncate import cast, truncate
from memsci.config import ENERGY, FLOAT8
from memsci.errors import MemsciError
from memsci.files import appearing
from memsci.store.store import Store


def compress(
    source: Store,
    target: str | os.PathLike[str],
    rank: int | None = None,
    energy: float | None = ENERGY,
    dtype: str = FLOAT8,
) -> Store:
    """Compress all memories of a store into a new one, whole or not at all; the source stays as it is.

    The memories keep ids, labels, keys, order and all else that is known of them. `memsci.open` opens the new store as
    it does the source; memories encoded into it later are as large as ever. The defaults take a fiftieth of the bytes
    of rank 128 in float32 and cost the shipped model next to nothing (docs/lab-notes.md).

    Parameters
    ----------
    source
        The store to read.
    target
        Path where nothing is.
    rank, energy
        As in `memsci.adapters.truncate.truncate`; with both None, ranks stay as they are.
    dtype
        As in `memsci.adapters.truncate.cast`.
    """

    def smaller(adapter: Adapter) -> Adapter:
        return cast(adapter if rank is None and energy is None else truncate(adapter, rank, energy), dtype)

    if energy is not None and not 0 < energy <= 1:
        raise MemsciError(f"energy must be above 0 and at most 1; {energy!r} was given.")
    header = {name: value for name, value in source.header.items() if name not in ("format", "versions")}
    header["compression"] = [*header.get("compression", ()), {"rank": rank, "energy": energy, "dtype": dtype}]
    shared: dict[str, list[str]] = {}

    def copies():
        for record in source.records:
            if record.shared:
                shared.setdefault(record.shared, []).append(record.id)
            yield replace(record, learnt=None), smaller(source.adapter(record.id))

    with appearing(target) as unfinished:
        store = Store.create(unfinished, header)
        store.add_all(copies(), again=True)
        for ids in shared.values():
            store.share(smaller(source.adapter(ids[0])), ids, source.learnt_from(ids))
    return Store.open(target)
