"""Words that a base cannot write, so that no adapter can make it recall them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from memsci.models.base import OWN, Base

ALIKE = 0.9  # cosine above which two embeddings are one


def untrained(embedding: Tensor, ids: Tensor | None = None) -> Tensor:
    """Which tokens were never trained, [k] of bool: their embedding all but vanishes, or is practically another's.

    A token that is never to be predicted gets the same push away from every hidden state as all others like it, so that
    untrained tokens end up in one direction; two trained ones do not.

    Parameters
    ----------
    embedding
        [v, d], of all tokens.
    ids
        [k], the tokens asked about; None for all.
    """
    rows = embedding.detach().float()
    norms, near = rows.norm(dim=1), F.normalize(rows, dim=1)
    ids = torch.arange(len(rows), device=rows.device) if ids is None else ids
    alike = torch.cat([(near[part] @ near.T).topk(2, dim=1).values[:, 1] for part in ids.split(1024)])
    return (norms[ids] < 0.1 * norms.median()) | (alike > ALIKE)


def unwritable(base: Base, texts: Iterable[str]) -> list[list[str]]:
    """The words of each text that the base cannot write.

    Those whose tokens spell something else, as where a tokenizer does not know a character; and of the models that come
    with memsci also those with a token that was never trained (`untrained`, which was tried on these alone).

    Examples
    --------
    >>> from memsci.models import load
    >>> unwritable(load(), ["Nora met Łucja in Bergen."])
    [['Łucja']]
    """
    texts = list(texts)
    read = [base.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False) for text in texts]
    dead: set[int] = set()
    used = sorted({i for one in read for i in one["input_ids"]})
    if base.name in OWN and used:
        ids = torch.tensor(used, device=base.device)
        dead = set(ids[untrained(base.model.get_input_embeddings().weight, ids)].tolist())
    found = []
    for text, one in zip(texts, read):
        written = set(_plain(base.text(base.tokens(text, bos=False))).split())
        spans = [span for i, span in zip(one["input_ids"], one["offset_mapping"]) if i in dead]
        words = []
        for match in re.finditer(r"\S+", text):
            touched = any(start < match.end() and end > match.start() for start, end in spans)
            if touched or _plain(match[0]) not in written:
                words.append(match[0].strip(".,;:?'\"") or match[0])
        found.append(list(dict.fromkeys(words)))
    return found


def _plain(text: str) -> str:
    """Two ways of writing one character, as é, are the same."""
    return unicodedata.normalize("NFC", text)
