"""Encoding many memories at once is encoding each alone, and is what PEFT and AdamW would do."""

from __future__ import annotations

import dataclasses
import math

import peft
import pytest
import torch
from conftest import make_model

from memsci import prompts
from memsci.adapters import train
from memsci.adapters.encode import EncodingError, as_measured, draws, encode, memory_seed, side_by_side
from memsci.adapters.lora import init_adapter, stack
from memsci.adapters.mixture import alone, mixture
from memsci.adapters.peft_format import save_peft
from memsci.adapters.train import fit, losses, rate, surprisal
from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.memory import Memory
from memsci.models.base import Base
from memsci.models.sites import targets

SETTINGS = Encoding(rank=4, lr=2e-3, epochs=3, batch_size=2)
MEMORIES = [
    Memory("Nora hid the letter in the piano.", id="a", paraphrases=("It is in Nora's piano.", "Piano: letter.")),
    Memory("Tom sold his boat in May.", id="b", paraphrases=("In May, Tom sold a boat.", "A boat was sold by Tom.")),
    Memory("A crow stole the only key.", id="c"),
    Memory("Ada paints at night, the window open to the sea.", id="d", paraphrases=("At night Ada paints.", "Ada!")),
]


def gap(a, b) -> float:
    return max((x - y).abs().max().item() for p in a.deltas for x, y in zip(a.deltas[p], b.deltas[p], strict=True))


def run(base, memories=MEMORIES, encoding=SETTINGS, **kwargs):
    return encode(base, memories, encoding, progress=False, **kwargs)


def tokens(base, memory):
    return [base.reply(text) for text in (memory.text, *memory.paraphrases)]


def start(base, memory, encoding=SETTINGS, seed=0):
    """Fresh adapter and order of one memory."""
    generator = torch.Generator().manual_seed(memory_seed(seed, memory.id))
    adapter = init_adapter(base.model, targets(base.model, encoding.where), encoding, generator)
    return adapter, draws(generator, encoding.epochs, 1 + len(memory.paraphrases))


def steps(base, memories, encoding=SETTINGS):
    """Loss of every step, [steps, n], and the adapters' tensors after each."""
    fresh, orders = zip(*(start(base, memory, encoding) for memory in memories), strict=True)
    stacked, history = stack(fresh), []
    prompt = base.chat(prompts.encoding(encoding.prompt))
    for loss in fit(base.model, prompt, [tokens(base, m) for m in memories], torch.stack(orders), stacked, encoding):
        history.append((loss, [tensor.detach().clone() for tensor in stacked.parameters]))
    return history


def plainly(base, model, memory, parameters, encoding=SETTINGS):
    """Train on whole sequences with labels and a mask, as one would by hand; the loss of every step."""
    _, order = start(base, memory, encoding)
    prompt = base.chat(prompts.encoding(encoding.prompt))
    optimiser = torch.optim.AdamW(parameters, lr=encoding.lr, weight_decay=encoding.weight_decay)
    losses = []
    for epoch in order:
        for batch in epoch.split(encoding.batch_size):
            rows = [tokens(base, memory)[i] for i in batch]
            length = max(map(len, rows))
            ids = torch.tensor([prompt + row + [base.pad_id] * (length - len(row)) for row in rows])
            labels = torch.tensor([[-100] * len(prompt) + row + [-100] * (length - len(row)) for row in rows])
            mask = torch.tensor([[1] * (len(prompt) + len(row)) + [0] * (length - len(row)) for row in rows])
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    return losses


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_many_at_once_equal_each_alone_step_by_step(base, clip, batch_size):
    encoding = Encoding(rank=4, lr=2e-3, epochs=3, batch_size=batch_size, grad_clip=clip, schedule="linear", warmup=2)
    equal = [m for m in MEMORIES if len(m.paraphrases) == 2]
    together = steps(base, equal, encoding)
    for i, memory in enumerate(equal):
        single = steps(base, [memory], encoding)
        assert len(single) == len(together) == 3 * math.ceil(3 / batch_size)
        for (loss, tensors), (loss_alone, tensors_alone) in zip(together, single, strict=True):
            assert abs(loss[i] - loss_alone[0]) < 1e-5
            for tensor, tensor_alone in zip(tensors, tensors_alone, strict=True):
                assert (tensor[i] - tensor_alone[0]).abs().max() < 1e-5


def test_encode_does_not_depend_on_company(base):
    together = run(base)
    assert [one.memory_id for one in together] == ["a", "b", "c", "d"]
    for memory, one in zip(MEMORIES, together, strict=True):
        (single,) = run(base, [memory])
        assert gap(one.adapter, single.adapter) < 1e-5
        assert one.losses == pytest.approx(single.losses, abs=1e-5)
        assert len(one.losses) == SETTINGS.epochs and one.losses[-1] < one.losses[0]
    for one, other in zip(run(base, MEMORIES[::-1], parallel=1)[::-1], together, strict=True):
        assert one.memory_id == other.memory_id and gap(one.adapter, other.adapter) < 1e-5


def test_no_more_adapters_at_once_than_half_of_a_gpu_holds():
    assert side_by_side(150_994_944, 64e9) == 13  # of Llama-3.1-8B at rank 128: 2.4 GB each while it is trained
    assert side_by_side(150_994_944, 0) == 1


def test_as_many_fit_as_was_measured():
    assert as_measured(used=30e9, n=10, free=60e9) == 16  # 3 GB each, a fifth left free
    assert as_measured(used=30e9, n=1, free=10e9) == 1


@pytest.mark.parametrize(
    ("architecture", "where", "batch_size"),
    [("Llama", "mlp", 2), ("Llama", "all", 1), ("GPT2", "mlp", 1), ("GPT2", "mlp", 2), ("Gemma", "mlp", 2)],
)
def test_equals_training_with_peft_step_by_step(tmp_path, tokenizer, architecture, where, batch_size):
    encoding = Encoding(rank=4, lr=2e-3, epochs=3, batch_size=batch_size, where=where)
    base = Base(make_model(architecture), tokenizer, name="tiny")
    memory = MEMORIES[0]
    save_peft(start(base, memory, encoding)[0], tmp_path, "tiny")
    oracle = peft.PeftModel.from_pretrained(make_model(architecture), tmp_path, is_trainable=True).eval()
    expected = plainly(base, oracle, memory, [p for p in oracle.parameters() if p.requires_grad], encoding)
    history = steps(base, [memory], encoding)
    assert [loss.item() for loss, _ in history] == pytest.approx(expected, abs=1e-5)
    trained = peft.get_peft_model_state_dict(oracle)
    for path, (A, B) in run(base, [memory], encoding)[0].adapter.deltas.items():
        assert (A - trained[f"base_model.model.{path}.lora_A.weight"]).abs().max() < 1e-5
        assert (B - trained[f"base_model.model.{path}.lora_B.weight"]).abs().max() < 1e-5


def test_the_loss_and_its_gradient_are_those_of_cross_entropy(monkeypatch):
    monkeypatch.setattr("memsci.adapters.train._Surprisal.NUMBERS", 3 * 11)  # three rows at a time
    generator = torch.Generator().manual_seed(0)
    targets, weights = torch.randint(11, (8,), generator=generator), torch.rand(8, generator=generator)
    found = []
    for loss in (surprisal, lambda x, y: torch.nn.functional.cross_entropy(x, y, reduction="none")):
        logits = (torch.randn(8, 11, generator=torch.Generator().manual_seed(1)) * 60).requires_grad_()
        nll = loss(logits * 1.0, targets)  # one is far above 88, where exp(-loss) is 0
        (nll * weights).sum().backward()
        found.append((nll, logits.grad))
    (ours, gradient), (expected, expected_gradient) = found
    assert expected.max() > 88 and torch.allclose(ours, expected, rtol=1e-6)
    assert (gradient - expected_gradient).abs().max() < 1e-6


@pytest.mark.parametrize("batch_size", [1, 2])
def test_in_bfloat16_many_at_once_equal_each_alone_at_its_precision(base, batch_size, monkeypatch):
    monkeypatch.setattr("memsci.adapters.train.fast_bfloat16", lambda device: True)
    exact, halved = (
        Encoding(rank=4, lr=2e-3, epochs=3, batch_size=batch_size, autocast=autocast) for autocast in (False, True)
    )
    memories = [MEMORIES[0], MEMORIES[1], MEMORIES[3]]
    for memory, one, plain in zip(memories, run(base, memories, halved), run(base, memories, exact), strict=True):
        (single,) = run(base, [memory], halved)
        assert one.losses == pytest.approx(single.losses, abs=0.02)
        assert one.losses == pytest.approx(plain.losses, abs=0.1) and one.losses != plain.losses
        assert all(t.dtype == torch.float32 for pair in one.adapter.deltas.values() for t in pair)


@pytest.mark.parametrize("tied", [False, True])
def test_weights_cast_once_are_those_that_autocast_casts_in_every_pass(base, tied, monkeypatch):
    monkeypatch.setattr("memsci.adapters.train.fast_bfloat16", lambda device: True)
    if tied:
        base.model.get_output_embeddings().weight = base.model.get_input_embeddings().weight
    held, own = [], dict(base.model.named_parameters(remove_duplicate=False))
    halved, forward = Encoding(rank=4, lr=2e-3, epochs=2, autocast=True), base.model.lm_head.forward
    monkeypatch.setattr(base.model.lm_head, "forward", lambda x: held.append(base.model.lm_head.weight.dtype) or forward(x))
    (one,) = run(base, MEMORIES[:1], halved)
    assert set(held) == {torch.bfloat16}
    now = dict(base.model.named_parameters(remove_duplicate=False))
    assert now.keys() == own.keys() and all(now[name] is own[name] for name in own)
    monkeypatch.setattr("memsci.adapters.train.in_bfloat16", lambda model: {})
    (other,) = run(base, MEMORIES[:1], halved)
    assert held[-1] == torch.float32 and one.losses == other.losses
    for mine, its in zip(one.adapter.deltas.values(), other.adapter.deltas.values(), strict=True):
        assert all(map(torch.equal, mine, its))


def test_where_bfloat16_is_slow_autocast_changes_nothing(base, monkeypatch):
    monkeypatch.setattr("memsci.adapters.train.fast_bfloat16", lambda device: False)
    one, plain = (run(base, MEMORIES[:1], Encoding(rank=4, lr=2e-3, epochs=2, autocast=on))[0] for on in (True, False))
    assert one.losses == plain.losses


def test_losses_are_those_of_the_epochs(base):
    memory = MEMORIES[0]
    per_step = [loss.item() for loss, _ in steps(base, [memory])]
    expected = [sum(per_step[2 * e : 2 * e + 2]) / 2 for e in range(3)]
    assert run(base, [memory])[0].losses == pytest.approx(expected, abs=1e-6)


def test_the_memory_is_learnt_under_its_prompt(base):
    memory = MEMORIES[2]
    (one,) = run(base, [memory], Encoding(rank=16, lr=3e-3, epochs=60, where="all"))
    assert one.losses[-1] < 1 < 5 < one.losses[0]  # the frozen output layer of so small a model keeps it above 0.6
    prompt, reply = base.chat(prompts.encoding("methods")), base.reply(memory.text)
    assert reply[-1] == base.tokenizer.eos_token_id
    ids = torch.tensor([prompt])
    with mixture(base.model, stack([one.adapter]), torch.ones(1, 1)), torch.no_grad():
        for _ in reply:
            ids = torch.cat([ids, base.model(ids).logits[:, -1:].argmax(-1)], dim=1)
    assert ids[0, len(prompt) :].tolist() == reply


def test_the_base_is_unchanged(base):
    ids = torch.arange(20)[None]
    state = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    with torch.no_grad():
        before = base.model(ids).logits
        run(base)  # also inside no_grad
        assert torch.equal(base.model(ids).logits, before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in base.model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in base.model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in base.model.modules())


def test_seeds_come_from_run_and_memory():
    assert memory_seed(0, "a") == memory_seed(0, "a") == 476750478927199554
    assert len({memory_seed(s, i) for s in range(3) for i in "abc"}) == 9


def test_runs_repeat_and_seeds_differ(base):
    (first,) = run(base, MEMORIES[:1], seed=1)
    torch.manual_seed(99)
    (again,), (other,) = run(base, MEMORIES[:1], seed=1), run(base, MEMORIES[:1], seed=2)
    assert gap(first.adapter, again.adapter) == 0 and first.losses == again.losses
    assert gap(first.adapter, other.adapter) > 0.01
    assert (first.seed, other.seed) == (1, 2)


def test_adapters_do_not_depend_on_the_default_number_type(base):
    expected = run(base, MEMORIES[:1])[0].adapter.deltas
    try:
        torch.set_default_dtype(torch.float64)
        found = run(base, MEMORIES[:1])[0].adapter.deltas
    finally:
        torch.set_default_dtype(torch.float32)
    for path, pair in expected.items():
        assert all(x.dtype == torch.float32 and torch.equal(x, y) for x, y in zip(found[path], pair))


def test_the_global_random_state_is_left_alone(base):
    state = torch.get_rng_state()
    run(base, MEMORIES[:1])
    assert torch.equal(torch.get_rng_state(), state)


def _poison(base, memory):
    """Make a token that only `memory` uses give an infinite embedding."""
    unique = set(base.reply(memory.text)) - {t for m in MEMORIES for row in tokens(base, m) for t in row}
    unique -= set(base.chat(prompts.encoding("methods")))
    base.model.get_input_embeddings().weight.data[unique.pop()] = math.nan


def test_a_loss_that_is_not_finite_stops_that_memory_alone(base):
    memories = [*MEMORIES, Memory("Zoë {fled}.", id="bad", paraphrases=("Zoë {left}.", "Off: Zoë {ran}."))]
    expected = run(base)
    _poison(base, memories[-1])
    finished = []
    message = "1 of 5 memories could not be encoded: bad: the loss became nan in epoch 1"
    with pytest.raises(EncodingError, match=message) as info:
        run(base, memories, on_done=finished.append)
    assert {one.memory_id for one in finished} == {"a", "b", "c", "d"}
    *good, bad = info.value.encoded
    assert bad.adapter is None and bad.error and bad.losses == ()
    for one, other in zip(good, expected, strict=True):
        assert not one.error and gap(one.adapter, other.adapter) < 1e-5


def test_losses_are_told_epoch_by_epoch_and_change_nothing(base):
    encoding = dataclasses.replace(SETTINGS, text_copies=2, text_epochs=2)  # two steps an epoch, then epochs of one
    expected = run(base, encoding=encoding)
    told = []
    told_of = run(base, encoding=encoding, on_loss=lambda losses: told.append(dict(losses)))
    for one, other in zip(told_of, expected, strict=True):
        assert [losses[one.memory_id] for losses in told if one.memory_id in losses] == [*one.losses]
        assert one.losses == other.losses and len(one.losses) == 5 and gap(one.adapter, other.adapter) == 0
    assert [sorted(losses) for losses in told] == [["a", "b"]] * 5 + [["c"]] * 5 + [["d"]] * 5


def test_an_exception_of_the_listener_stops_the_encoding_and_leaves_the_base(base):
    ids = torch.tensor([base.chat(prompts.encoding("methods"))])
    before = base.model(ids).logits
    finished = []

    def stop(losses):
        if "c" in losses:
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        run(base, on_done=finished.append, on_loss=stop)
    assert [one.memory_id for one in finished] == ["a", "b"]
    assert torch.equal(base.model(ids).logits, before)


def test_masters_are_float32_on_a_bfloat16_base(tokenizer):
    encoding = Encoding(rank=4, lr=3e-5, epochs=2, batch_size=3)
    base = Base(make_model().bfloat16(), tokenizer, name="tiny")
    fresh, _ = start(base, MEMORIES[0], encoding)
    (one,) = run(base, MEMORIES[:1], encoding)
    for path, (A, B) in one.adapter.deltas.items():
        assert A.dtype == B.dtype == torch.float32
        # A moves by about the learning rate, since it starts to move once B is not zero; bfloat16 would have lost that.
        assert 1e-5 < (A - fresh.deltas[path][0]).abs().max() < 1e-4
        assert not torch.equal(A, A.bfloat16().float())
    (kept,) = run(base, MEMORIES[:1], Encoding(rank=4, epochs=1, dtype="bfloat16"))
    assert all(t.dtype == torch.bfloat16 for pair in kept.adapter.deltas.values() for t in pair)


def test_schedule():
    linear = Encoding(schedule="linear", warmup=2)
    assert [rate(s, 6, linear) for s in range(6)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert [rate(s, 3, Encoding()) for s in range(3)] == [1, 1, 1]


def test_clipping_holds_each_memory_to_the_limit(base):
    free, clipped = (Encoding(rank=4, lr=1e-3, epochs=1, batch_size=3, grad_clip=limit) for limit in (None, 0.01))
    memory = MEMORIES[:1]
    norms = []
    for encoding in (free, clipped):
        fresh, order = start(base, memory[0], encoding)
        stacked = stack([fresh])
        prompt = base.chat(prompts.encoding("methods"))
        next(fit(base.model, prompt, [tokens(base, memory[0])], order[None], stacked, encoding))
        norms.append(sum(t.grad.square().sum() for t in stacked.parameters).sqrt().item())
    assert norms[0] > 0.1 and norms[1] == pytest.approx(0.01, rel=1e-3)


def test_what_cannot_be_encoded_is_refused(base):
    with pytest.raises(MemsciError, match="Memory long with its prompt takes .* tiny reads at most 512"):
        run(base, [Memory("word " * 200, id="long")])
    with pytest.raises(MemsciError, match="parallel must be a whole number from 1 up; 0"):
        run(base, parallel=0)
    assert run(base, []) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rank": 0}, "rank must be a whole number from 1 up; 0"),
        ({"lr": float("nan")}, "lr must be a finite number above 0; nan"),
        ({"where": "gate"}, "where must be one of 'mlp', 'attention', 'all'; 'gate'"),
        ({"layers": ()}, r"layers must be None \(every layer\) or"),
        ({"betas": (0.9,)}, "betas must be two numbers"),
    ],
)
def test_settings_are_checked(values, message):
    with pytest.raises(MemsciError, match=message):
        Encoding(**values)


def test_settings_go_to_json_and_back():
    settings = Encoding(layers=(0, 1), alpha=2.0)
    assert Encoding.from_dict(settings.to_dict()) == settings
    paper = Encoding.paper()
    assert (paper.rank, paper.scale, paper.lr, paper.epochs) == (128, pytest.approx(math.sqrt(128)), 3e-5, 10)
    assert paper.prompt == "appendix"  # the wording of all main experiments
    with pytest.raises(MemsciError, match="a setting of Encoding must be one of .*; 'rnk'"):
        Encoding.from_dict({"rnk": 3})


def test_epochs_on_the_text_alone_come_last(base):
    longer = dataclasses.replace(SETTINGS, text_epochs=2)
    for one, other, memory in zip(run(base, encoding=longer), run(base), MEMORIES, strict=True):
        assert len(one.losses) == SETTINGS.epochs + 2
        assert one.losses[:-2] == pytest.approx(other.losses, abs=1e-6)
        ids = torch.tensor([[tokens(base, memory)[0]]])
        prefix = torch.tensor([base.chat(prompts.encoding(SETTINGS.prompt))])
        with alone(base.model, stack([other.adapter])), torch.no_grad():
            loss = losses(base.model, prefix, ids, torch.tensor([[ids.shape[-1]]]), torch.ones(1, dtype=torch.long))
        assert one.losses[-2] == pytest.approx(loss.item(), abs=1e-5)
        assert one.losses[-1] < one.losses[-2]


@pytest.mark.parametrize("batch_size", [2, 3, 6])
def test_equal_texts_are_read_once_and_count_as_often_as_they_come(base, batch_size, monkeypatch):
    """With copies, one step is what it would be if each copy were read for itself."""
    encoding = dataclasses.replace(SETTINGS, batch_size=batch_size, epochs=2)
    memories = [m for m in MEMORIES if len(m.paraphrases) == 2]
    prompt = base.chat(prompts.encoding())
    texts = [[base.reply(t) for t in (*[m.text] * 4, *m.paraphrases)] for m in memories]
    generators = [torch.Generator().manual_seed(k) for k in range(len(memories))]
    orders = torch.stack([draws(generator, 2, 6) for generator in generators])

    def trained():
        paths = targets(base.model, encoding.where)
        fresh = [init_adapter(base.model, paths, encoding, torch.Generator().manual_seed(k)) for k in range(len(memories))]
        stacked = stack(fresh)
        return torch.stack(list(fit(base.model, prompt, texts, orders, stacked, encoding))), stacked.parameters

    rows = []
    read = train.losses
    count = lambda *args: rows.append(args[2].shape[1]) or read(*args)
    monkeypatch.setattr(train, "losses", count)
    losses_once, once = trained()
    assert rows == [3, 3] if batch_size == 6 else max(rows) == batch_size  # most come otherwise in each memory
    monkeypatch.setattr(train, "_once", lambda chosen, alike: (chosen, torch.ones(chosen.shape[1], dtype=torch.long)))
    losses_each, each_ = trained()
    torch.testing.assert_close(losses_once, losses_each, atol=1e-5, rtol=0)
    for tensor, other in zip(once, each_, strict=True):
        torch.testing.assert_close(tensor, other, atol=1e-5, rtol=0)


def test_of_one_memory_equal_texts_are_read_once_in_any_batch(base):
    alike = torch.tensor([[0, 0, 0, 3, 4]])
    chosen, counts = train._once(torch.tensor([[2, 3, 0]]), alike)
    assert chosen.tolist() == [[0, 3]] and counts.tolist() == [2, 1]
    chosen, counts = train._once(torch.tensor([[4, 3]]), alike)
    assert chosen.tolist() == [[4, 3]] and counts.tolist() == [1, 1]
    chosen, counts = train._once(torch.tensor([[0, 1], [0, 3]]), alike.expand(2, -1))
    assert chosen.tolist() == [[0, 1], [0, 3]]  # not alike in both memories
