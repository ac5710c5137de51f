"""Chat templates: how a conversation is written for one model."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

from memsci.errors import MemsciError
from memsci.prompts import THOUGHTS, Messages

# For tokenizers without a chat template (GPT-2, GPT-NeoX); the tokenizer's BOS, if any, is put in front.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ '' if loop.first else '\n' }}"
    "{{ message['role'] | capitalize }}: {{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\nAssistant:' }}{% endif %}"
)

_DAY = date(2024, 7, 26)  # Llama 3.1's: a prompt must be the same on every day
_MARKS = ("4711", "5813", "6029")  # words that no template changes


class Template:
    """The chat template of a tokenizer, tried on every kind of conversation that memsci holds.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerFast
    name : str
        Name of the model, for messages.
    thinking : bool
        Let the model think before it speaks, where the template has a switch for it (``enable_thinking``, ``thinking``).
        Where a template opens a think block in any case, it is closed at once unless `thinking`.

    Attributes
    ----------
    source : str
        The template itself, dates replaced.
    samples : list of str
        The conversations that were tried, as they are written.
    thinks : bool
        Whether replies can have think blocks.
    open : bool
        Whether a reply begins within a think block.
    """

    def __init__(self, tokenizer: Any, name: str, thinking: bool = False):
        self.name, self.thinking, self._tokenizer = name, thinking, tokenizer
        self.source = _on_one_day(_source(tokenizer))
        self.thinks = any(tag in self.source for tag in THOUGHTS)
        problems = []
        for self._listed in (False, True):  # some want contents as lists of parts, as those of models with vision do
            try:
                self.samples = self._tried()
                break
            except MemsciError as error:
                problems.append(error)
        else:
            raise problems[0]
        self.open = thinking and _opened(self.samples[0])

    def render(self, messages: Messages, generation_prompt: bool = True) -> str:
        """The conversation as text. If the last message is the assistant's, it stays open, unless no `generation_prompt`.

        Some templates refuse a system turn, others drop it: its words then open the user's turn.
        """
        forms = [messages] if messages[0]["role"] != "system" else [messages, _without_system(messages)]
        for form in forms:
            try:
                text = self._written(form, generation_prompt)
            except Exception as error:  # a template may raise anything
                reason = error
            else:
                if form is forms[-1] or messages[0]["content"].strip() in text:
                    return text
        roles = ", ".join(message["role"] for message in messages)
        raise MemsciError(
            f"The chat template of {self.name} refuses the turns {roles}: {reason}. Use turns that it knows, or another "
            "template (tokenizer.chat_template)."
        ) from reason

    def _written(self, messages: Messages, generation_prompt: bool) -> str:
        continued = generation_prompt and messages[-1]["role"] == "assistant"
        if continued:
            try:
                return self._apply(messages, continue_final_message=True)
            except Exception:  # it refuses to be continued, not to speak
                return self._written(messages[:-1], generation_prompt) + messages[-1]["content"]
        text = self._apply(messages, add_generation_prompt=generation_prompt)
        if generation_prompt and not self.thinking and (tag := _opened(text)):
            return f"{text.rstrip()}\n\n{THOUGHTS[tag]}\n\n"
        return text

    def _apply(self, messages: Messages, **how: bool) -> str:
        if self._listed:
            messages = [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in messages]
        return self._tokenizer.apply_chat_template(
            list(messages),
            chat_template=self.source,
            date_string=_DAY.strftime("%d %b %Y"),
            enable_thinking=self.thinking,
            thinking=self.thinking,
            tokenize=False,
            **how,
        )

    def _tried(self) -> list[str]:
        """A question, one after a recall, one of the quiz, and a learnt text; refused if any of their words are left out."""
        samples = []
        for roles in (["user"], ["user", "assistant", "user"], ["system", "user", "assistant"], ["user", "assistant"]):
            messages = [{"role": role, "content": mark} for role, mark in zip(roles, _MARKS)]
            samples.append(self.render(messages, generation_prompt=len(roles) != 2))
            if silent := [one["role"] for one in messages if one["content"] not in samples[-1]]:
                raise MemsciError(
                    f"The chat template of {self.name} leaves out what the {silent[0]} says among the turns "
                    f"{', '.join(roles)}. Give a tokenizer with another template (tokenizer.chat_template)."
                )
        return samples


def _opened(prompt: str) -> str | None:
    """The tag of the think block that is open at the end of a prompt."""
    return next((tag for tag in THOUGHTS if prompt.rstrip().endswith(tag)), None)


def _without_system(messages: Messages) -> Messages:
    """The conversation with the system's words at the head of the first user turn."""
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def _source(tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        return PLAIN_TEMPLATE
    try:
        return tokenizer.get_chat_template()
    except ValueError as error:
        raise MemsciError(f"The tokenizer has several chat templates, none of them its default: {error}") from None


def _on_one_day(template: str) -> str:
    """A chat template that asks for the date with that of `_DAY` in its place."""
    asked = r"strftime_now\(\s*(?:format\s*=\s*)?(['\"])(.*?)\1\s*\)"
    return re.sub(asked, lambda call: json.dumps(_DAY.strftime(call[2])), template)
