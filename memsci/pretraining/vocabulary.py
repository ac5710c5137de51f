"""The base model's tokenizer: byte-level BPE over what training reads, with a chat template of four control tokens."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from .. import prompts
from ..world import knowledge, split, stories
from . import cues, plain, words

VOCABULARY = 8192
PAD, BEGIN, END, SYSTEM, USER, ASSISTANT = CONTROL = (
    "<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
)  # fmt: skip
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def text_sample(events: int, seed: int):
    """What training reads: tellings, questions and replies of world and plain events, everyday words, general knowledge."""
    rng = random.Random(f"vocabulary {seed}")
    for index in range(events):
        event = split.training_event(("episodic", "semantic")[index % 2], rng) if index % 3 else plain.event(rng)
        yield stories.tell(event, rng)
        yield words.sentence(rng)
        yield cues.cue(event, 0, rng, "hardly").text
        for asked in stories.questions(event, rng):
            yield f"{asked.text} {asked.reply}"
    for subject in knowledge.SUBJECTS:
        for fact in knowledge.facts(subject):
            for _ in range(6):
                yield f"{knowledge.question(fact, 'train', rng)} {knowledge.statement(fact, rng)}"


def build(events: int = 20000, seed: int = 0) -> Tokenizer:
    """Train the tokenizer. Every text begins with a space, so a word is the same token wherever it stands."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    constants = [prompts.RECALL, prompts.RAG, prompts.MMLU_SYSTEM, prompts.MMLU_USER, prompts.MMLU_PREFIX]
    constants += [text for texts in (prompts.ENCODING_PROMPTS, prompts.IRAG_PROMPTS) for text in texts.values()]
    tokenizer.train_from_iterator(
        (text for source in (text_sample(events, seed), constants * 200) for text in source), trainer
    )
    return tokenizer


@cache
def seldom(tokenizer: Tokenizer, events: int = 1000) -> tuple[int, ...]:
    """The third of all tokens that training's text has least often, control tokens left out."""
    found = Counter(id for text in text_sample(events, 1) for id in tokenizer.encode(text, add_special_tokens=False).ids)
    return tuple(sorted(range(len(CONTROL), tokenizer.get_vocab_size()), key=lambda id: found[id])[: VOCABULARY // 3])


def pieces(tokenizer: Tokenizer, text: str, rng: random.Random) -> list[int]:
    """One of the many ways to write ``text`` in tokens, drawn piece by piece: not only the one that `encode` takes."""
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)[0][0]
    ids, start = [], 0
    while start < len(letters):
        ends = [end for end in range(start + 1, len(letters) + 1) if tokenizer.token_to_id(letters[start:end]) is not None]
        end = rng.choice(ends)
        ids.append(tokenizer.token_to_id(letters[start:end]))
        start = end
    return ids


def for_transformers(tokenizer: Tokenizer):
    """The same tokenizer as ``transformers`` uses it, with the chat template."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
