"""Text, log probabilities and choices: as the model alone would have it, one prompt at a time."""

from __future__ import annotations

import functools

import pytest
import torch
import transformers
from conftest import ARCHITECTURES, make_model, make_tokenizer
from tokenizers import AddedToken
from torch.testing import assert_close
from transformers import GenerationConfig

from memsci import prompts
from memsci.errors import MemsciError
from memsci.models.base import Base
from memsci.models.generate import alternatives, choose, converse, generate, logprob, weigh

WORDS = ["Where?", "Nora hid the letter in a book, and nobody found it.", "Tom", "Who went to the sea at noon?", "Oh!"]


@pytest.fixture(params=ARCHITECTURES)
def any_base(request, tokenizer):
    return Base(make_model(request.param), tokenizer)


@pytest.fixture
def asked(base):
    return [base.chat(prompts.qa(word)) for word in WORDS]


def greedy(base, prompt, steps):
    """The most probable token again and again, without cache, batch or any library, up to a stop token."""
    ids = list(prompt)
    for _ in range(steps):
        with torch.no_grad():
            ids.append(base.model(torch.tensor([ids])).logits[0, -1].argmax().item())
        if ids[-1] in base.stop_ids:
            break
    return ids[len(prompt) :]


def spoken(base, ids):
    return base.text([i for i in ids if i not in base.stop_ids]).strip()


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_greedy_is_the_model_one_prompt_at_a_time(any_base, batch_size):
    """Left padding, stop tokens and order of batches leave no trace."""
    asked = [any_base.chat(prompts.qa(word)) for word in WORDS]
    expected = []
    for prompt in asked:
        ids = torch.tensor([prompt])
        alone = any_base.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0,
            eos_token_id=list(any_base.stop_ids),
        )[0, len(prompt) :].tolist()  # fmt: skip
        assert alone == greedy(any_base, prompt, 12)
        expected.append(spoken(any_base, alone))
    assert len(set(expected)) > 1
    assert generate(any_base, asked, 12, batch_size=batch_size) == expected


def test_stop_tokens_end_each_row_alone(base, asked):
    """Each token in turn is made a stop token: rows that meet it are cut there, and the others go on."""
    base.stop_ids = ()
    replies = [greedy(base, prompt, 10) for prompt in asked]
    stops = sorted({token for reply in replies for token in reply[1:9]})[:6]
    for stop in stops:
        base.stop_ids = (stop,)
        expected = [reply[: reply.index(stop)] if stop in reply else reply for reply in replies]
        assert generate(base, asked, 10) == [base.text(reply).strip() for reply in expected]


def test_a_second_turn_is_what_it_would_be_read_anew(any_base):
    """Whatever of the first turn the second has in common with it: all, the prompt alone, or next to nothing."""
    turns = [prompts.recall(word) for word in WORDS]
    read = []

    def follow(k, told):
        longer = any_base.chat(
            [prompts.irag(WORDS[k], told), prompts.irag(WORDS[k], "Something else."), prompts.qa(WORDS[k])][k % 3]
        )
        read.append((k, told, longer))
        return longer

    both = converse(any_base, [any_base.chat(turn) for turn in turns], follow, (9, 7))
    first = generate(any_base, [any_base.chat(turn) for turn in turns], 9)
    assert [told for told, _ in both] == [told for _, told, _ in read] == first and len(set(first)) > 1
    second = generate(any_base, [longer for _, _, longer in read], 7)
    assert [said for _, said in both] == second and len(set(second)) > 1
    assert converse(any_base, [], follow, (1, 1)) == []


@pytest.mark.parametrize("architecture", ["Mistral", "Qwen2", "Gemma2", "Gemma3Text"])
def test_a_second_turn_under_a_sliding_window(architecture, tokenizer):
    common = {
        "vocab_size": 262, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8,
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3, "sliding_window": 100,
    }  # fmt: skip
    more = {"use_sliding_window": True, "max_window_layers": 0} if architecture == "Qwen2" else {}
    config = getattr(transformers, f"{architecture}Config")(**common, **more)
    name = architecture.removesuffix("Text")
    torch.manual_seed(0)
    base = Base(getattr(transformers, f"{name}ForCausalLM")(config).eval(), tokenizer)
    assert base.window == 100
    asked = [base.chat(prompts.recall(word)) for word in WORDS]  # of unequal length, so that columns are hidden
    follow = lambda k, told: base.chat(prompts.irag(WORDS[k], "Other words."))  # columns of the recall are hidden
    first = generate(base, asked, 40)
    second = generate(base, [follow(k, told) for k, told in enumerate(first)], 20)
    assert converse(base, asked, follow, (40, 20)) == list(zip(first, second))


COUNTING = {
    "Mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2},  # counts columns, hidden or not
    "Mamba": {"hidden_size": 32, "num_hidden_layers": 2},  # all that was read is in one sum
    "Rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
    "Jamba": {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "num_experts": 1, "attn_layer_period": 2, "attn_layer_offset": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("architecture", COUNTING)
def test_a_second_turn_where_hidden_columns_would_leave_a_trace(architecture, tokenizer):
    torch.manual_seed(0)
    settings = {"vocab_size": 262, "initializer_range": 0.3, "pad_token_id": 0, "eos_token_id": None}
    config = getattr(transformers, f"{architecture}Config")(**COUNTING[architecture] | settings)
    base = Base(transformers.AutoModelForCausalLM.from_config(config).eval(), tokenizer)
    asked = [base.chat(prompts.recall(word)) for word in WORDS[:3]]
    follow = lambda k, told: base.chat(prompts.irag(WORDS[k], "Other words."))
    first = generate(base, asked, 20)
    second = generate(base, [follow(k, told) for k, told in enumerate(first)], 15)
    assert converse(base, asked, follow, (20, 15)) == list(zip(first, second))


def test_a_second_turn_is_not_read_twice(base):
    """The model is shown the end of the turn and the new question alone, and no token that it has seen."""
    lengths = []
    record = base.model.register_forward_pre_hook(
        lambda _, __, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    first = base.chat(prompts.recall("Who sang?"))
    second = []
    converse(base, [first], lambda k, told: second.extend(base.chat(prompts.irag("Who sang?", told))) or second, (4, 1))
    record.remove()
    assert lengths[0] == len(first) and set(lengths[1:4]) == {1}
    # A random model's reply comes back from text as other tokens from some place on.
    assert len(second) - len(first) - 4 <= lengths[4] < len(second) - len(first) + 1


def test_without_stop_tokens(model):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = tokenizer.eos_token = None
    base = Base(model, tokenizer)
    assert base.stop_ids == ()
    prompt = base.chat(prompts.qa("Where?"))
    assert generate(base, [prompt], 8) == [spoken(base, greedy(base, prompt, 8))]


def test_the_models_own_generation_settings_are_neither_used_nor_lost(base, asked):
    expected = generate(base, asked, 10)
    own = GenerationConfig(
        do_sample=True, temperature=3.0, top_k=3, repetition_penalty=5.0, no_repeat_ngram_size=1, min_new_tokens=10,
        suppress_tokens=list(range(100)), max_length=3, eos_token_id=7, num_beams=3, length_penalty=-2.0,
    )  # fmt: skip
    base.model.generation_config = own
    before = own.to_dict()
    assert generate(base, asked, 10) == expected
    assert base.model.generation_config is own and own.to_dict() == before


def test_the_models_settings_come_back_after_an_exception(base, asked, monkeypatch):
    own = base.model.generation_config

    def fail(**kwargs):
        assert base.model.generation_config is not own
        raise RuntimeError("out of memory")

    monkeypatch.setattr(base.model, "generate", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        generate(base, asked, 2)
    assert base.model.generation_config is own


# Log probability.


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_logprob_by_hand(any_base, batch_size):
    asked = [any_base.chat(prompts.qa(word)) for word in WORDS]
    targets = [any_base.reply(word) for word in reversed(WORDS)]
    targets[2] = []
    sums, counts = logprob(any_base, asked, targets, batch_size=batch_size)
    assert sums.dtype == torch.float32 and counts.tolist() == [len(target) for target in targets]
    for prompt, target, found in zip(asked, targets, sums.tolist(), strict=True):
        with torch.no_grad():
            scores = any_base.model(torch.tensor([prompt + target])).logits[0].log_softmax(dim=-1)
        expected = sum(scores[len(prompt) + j - 1, token].item() for j, token in enumerate(target))
        assert found == pytest.approx(expected, abs=1e-3, rel=1e-5)


def test_logprob_of_the_next_token_is_a_distribution(base, asked):
    every = [[token] for token in range(262)]
    sums, counts = logprob(base, asked[:1] * 262, every)
    assert_close(sums.exp().sum(), torch.tensor(1.0))
    assert counts.tolist() == [1] * 262


# Choice.


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_choose_by_hand(any_base, batch_size):
    """In this tokenizer a space is a token: the letter is the step after it."""
    asked = [any_base.chat(prompts.mmlu("s", word, WORDS[:4])) for word in WORDS]
    space, *letters = any_base.tokens(" ABCD", bos=False)
    expected = []
    for prompt in asked:
        with torch.no_grad():
            logits = any_base.model(torch.tensor([[*prompt, space]])).logits[0, -1]
        expected.append(max(range(4), key=lambda k: logits[letters[k]].item()))
    assert choose(any_base, asked, batch_size=batch_size) == expected
    swapped = choose(any_base, asked, letters=("D", "C", "B", "A"), batch_size=batch_size)
    assert swapped == [3 - k for k in expected]


def test_choose_where_the_space_belongs_to_the_letter(model):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken(f" {letter}", special=False) for letter in "ABCD"])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    base = Base(model, tokenizer)
    base._control -= set(tokenizer.convert_tokens_to_ids([" A", " B", " C", " D"]))
    prompt = base.chat(prompts.mmlu("s", "Q?", WORDS[:4]))
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1]
    letters = tokenizer.convert_tokens_to_ids([" A", " B", " C", " D"])
    assert choose(base, [prompt]) == [logits[letters].argmax().item()]


# Borders.


def test_nothing_asked(base):
    assert generate(base, [], 3) == choose(base, []) == []
    sums, counts = logprob(base, [], [])
    assert sums.shape == counts.shape == (0,)


def test_refusals(base, asked):
    with pytest.raises(MemsciError, match="Prompt 1 is empty"):
        generate(base, [[1], []], 3)
    with pytest.raises(MemsciError, match="Prompt 0 of 500 tokens with 13 more takes 513 tokens"):
        generate(base, [[1] * 500], 13)
    with pytest.raises(MemsciError, match="2 prompts and 1 targets"):
        logprob(base, asked[:2], [[1]])
    with pytest.raises(MemsciError, match="Prompt 0 of 510 tokens with 3 more"):
        logprob(base, [[1] * 510], [[1] * 3])
    for letters in (("A", "A"), ("A", "AB"), ("AB", "AC", "D", "DE")):
        with pytest.raises(MemsciError, match="do not differ in their first token"):
            choose(base, asked, letters=letters)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_targets_weighed_together_are_targets_weighed_alone(any_base, batch_size):
    asked = [any_base.chat(prompts.qa(word)) for word in WORDS]
    ids = any_base.tokens("ABCDefgh", bos=False)
    a, b, c, d, *word = ids
    targets = [[[a], [b], [c], [d]], [[*word, a], [*word, b]], [[c]], [word], [[d], [d]]]
    found = weigh(any_base, asked, targets, batch_size=batch_size)
    assert [len(several) for several in found] == [4, 2, 1, 1, 2] and found[4][0] == found[4][1]
    for prompt, several, weighed in zip(asked, targets, found):
        sums, _ = logprob(any_base, [prompt] * len(several), several)
        assert_close(torch.tensor([total for total, _ in weighed]), sums, atol=1e-4, rtol=1e-5)
    said = [greedy(any_base, prompt, 3) for prompt in asked]
    for other in (False, True):
        ends = [[*reply[:-1], (reply[-1] + other) % 262] for reply in said]
        assert [row[0][1] for row in weigh(any_base, asked, [[end] for end in ends], batch_size)] == [not other] * 5
    assert weigh(any_base, [], []) == []


def test_alternatives_are_weighed_after_one_reading_as_each_by_itself(any_base):
    asked = [any_base.chat(prompts.qa(word)) for word in WORDS]
    ids = any_base.tokens("ABCDefgh", bos=False)
    targets = [[ids[:1], ids[:3], ids], [ids[2:]], [], [ids[4:6], []], [[], ids[::-1], ids[:2]]]
    found = alternatives(any_base, asked, targets)
    assert [len(some) for some in found] == [3, 1, 0, 2, 3] and found[4][0] == found[3][1] == 0
    for prompt, some, weighed in zip(asked, targets, found):
        sums, _ = logprob(any_base, [prompt] * len(some), some) if some else (torch.zeros(0), None)
        assert_close(torch.tensor(weighed), sums, atol=1e-4, rtol=1e-5)
    assert alternatives(any_base, [], []) == [] and alternatives(any_base, asked[:1], [[]]) == [[]]
    with pytest.raises(MemsciError, match="2 prompts and 1 lists of targets"):
        alternatives(any_base, asked[:2], [[ids]])
    with pytest.raises(MemsciError, match="Prompt 1 of 510 tokens with 8 more"):
        alternatives(any_base, [[1], [1] * 510], [[ids], [ids[:2]]])


def test_a_prompt_is_read_once_for_all_alternatives(base, asked, monkeypatch):
    seen, forward = [], base.model.forward

    @functools.wraps(forward)
    def reading(**given):
        seen.append(given["input_ids"].numel())
        return forward(**given)

    monkeypatch.setattr(base.model, "forward", reading)
    logprobs = alternatives(base, asked[:1], [[[1, 2], [3, 4, 5]]])
    assert seen == [len(asked[0]), 1, 2] and len(logprobs[0]) == 2


def test_what_cannot_be_weighed_together(base, asked):
    for targets in ([[1, 2], [3, 2]], [[1], [1, 2]], [[]], []):
        with pytest.raises(MemsciError, match="Prompt 1 needs targets .* differ in their last token alone"):
            weigh(base, asked[:2], [[[1]], targets])
    with pytest.raises(MemsciError, match="1 prompts and 2 lists of targets"):
        weigh(base, asked[:1], [[[1]], [[1]]])
    with pytest.raises(MemsciError, match="Prompt 0 is empty"):
        weigh(base, [[]], [[[1, 2]]])
    with pytest.raises(MemsciError, match="Prompt 1 of 513 tokens"):
        weigh(base, [[1], [1] * 512], [[[1]], [[1, 2]]])
    weigh(base, [[1], [1] * 512], [[[1, 2, 3]], [[1]]])  # the last token is read by nobody
