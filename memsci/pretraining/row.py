"""A row of the corpus: one conversation as tokens, each with its weight in the loss."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tokenizers import Tokenizer

from . import vocabulary

ROW = 288
FACT_WEIGHT = 4.0


@dataclass
class Row:
    """Tokens of a conversation under way, with the weight of each in the loss."""

    tokenizer: Tokenizer
    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def __post_init__(self):
        self.control(vocabulary.BEGIN)

    def control(self, token: str, weight: float = 0.0) -> None:
        """Append a control token."""
        self.tokens.append(self.tokenizer.token_to_id(token))
        self.weights.append(weight)

    def turn(self, role: str, text: str, facts: tuple[str, ...] = (), weight: float | None = None) -> None:
        """Append a turn; the assistant's tokens count, those within one of ``facts`` count more."""
        encoded = self.tokenizer.encode(text, add_special_tokens=False)
        weight = float(role == "assistant") if weight is None else weight
        spans = [found.span() for fact in facts for found in re.finditer(re.escape(fact), text, re.IGNORECASE)]
        self.control(f"<|{role}|>")
        for token, (start, stop) in zip(encoded.ids, encoded.offsets):
            within = any(start < high and stop > low for low, high in spans)
            self.tokens.append(token)
            self.weights.append(weight * FACT_WEIGHT if within else weight)
        self.control(vocabulary.END, weight)

    def chat(self, messages: list[dict], reply: str, facts: tuple[str, ...] = (), weight: float | None = None) -> None:
        """Append the user's turns and the reply to them."""
        for message in messages:
            self.turn(message["role"], message["content"])
        self.turn("assistant", reply, facts, weight)

    @property
    def room(self) -> int:
        """Tokens left."""
        return ROW - len(self.tokens)
