"""What must hold of a mixture of memories whatever the model and the memories are."""

from __future__ import annotations

from threading import Event, Thread

import pytest
import torch
from conftest import ARCHITECTURES, make_model, make_tokenizer, random_adapter

from memsci.adapters.lora import Adapter, Stack, init_adapter, stack, unstack
from memsci.adapters.mixture import ROW_COST, alone, folding_pays, in_bfloat16, logits_at, mixture
from memsci.config import Embedding, Encoding
from memsci.errors import MemsciError
from memsci.gate.embed import embedder
from memsci.gate.softmax import Gate, nucleus
from memsci.models.base import Base
from memsci.models.sites import targets

ENCODING = Encoding(rank=4)
IDS = torch.randint(0, 256, (3, 12), generator=torch.Generator().manual_seed(0))


def logits(model, ids=IDS, **kwargs):
    with torch.no_grad():
        return model(ids, **kwargs).logits


def hooks(model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def gap(a, b) -> float:
    return (a - b).abs().max().item()


@pytest.fixture
def adapters(model):
    return [random_adapter(model, targets(model), seed=seed) for seed in range(4)]


@pytest.fixture
def stacked(adapters):
    return stack(adapters)


def onehot(i, n=4):
    return torch.eye(n)[[i]]


def test_one_hot_is_that_memory_alone(model, adapters, stacked):
    for i, adapter in enumerate(adapters):
        with mixture(model, stacked, onehot(i)):
            among = logits(model)
        with mixture(model, stack([adapter]), torch.ones(1, 1)):
            alone_ = logits(model)
        assert torch.equal(among, alone_)
        assert gap(among, logits(model)) > 0.1  # the adapter does something


def test_one_hot_equals_changed_weights(model, adapters, stacked):
    with mixture(model, stacked, onehot(2)):
        mixed = logits(model)
    for path, (A, B) in adapters[2].deltas.items():
        model.get_submodule(path).weight.data += adapters[2].scale * B @ A
    assert gap(mixed, logits(model)) < 1e-5


def test_zero_gates_are_the_base_bitwise(model, stacked):
    plain = logits(model)
    with mixture(model, stacked, torch.zeros(3, 4)):
        assert hooks(model) == 0
        assert torch.equal(logits(model), plain)
    weights = torch.rand(3, 4)
    weights[1] = 0  # one row without memories among rows with
    with mixture(model, stacked, weights):
        mixed = logits(model)
    assert torch.equal(mixed[1], plain[1])
    assert gap(mixed[0], plain[0]) > 0.1


def test_another_thread_waits_until_the_memories_are_shut(model, stacked):
    """What a widget says in the background never mixes into what a cell reads meanwhile."""
    base = Base(model, make_tokenizer())
    embed, keys, begun = embedder(base, Embedding.paper()), [], Event()
    plain = embed(["the cat"])

    def read() -> None:
        begun.set()
        keys.append(embed(["the cat"]))

    reader = Thread(target=read)
    with mixture(model, stacked, torch.ones(1, 4)):
        reader.start()
        begun.wait()
        reader.join(timeout=0.2)
        assert keys == []
        assert not torch.equal(embed(["the cat"]), plain)  # within its own block a thread runs what it opened
    reader.join()
    assert torch.equal(keys[0], plain)


def test_no_memories_are_the_base(model):
    plain = logits(model)
    with mixture(model, stack([]), torch.zeros(3, 0)):
        assert torch.equal(logits(model), plain)


def test_rows_with_their_own_gates_equal_single_runs(model, stacked):
    weights = torch.softmax(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)) * 3, dim=1)
    with mixture(model, stacked, weights):
        together = logits(model)
    for row in range(3):
        with mixture(model, stacked, weights[[row]]):
            assert gap(logits(model, IDS[[row]]), together[[row]]) < 1e-5


@pytest.mark.parametrize("per_row", [1, 2, 3])
def test_few_open_memories_per_row_are_their_sum(model, per_row):
    """However the mixture is computed: all rows through all memories, or each with copies of its own."""
    stacked = stack([random_adapter(model, targets(model), rank=2 + i % 3, seed=i) for i in range(24)])
    weights = torch.zeros(24, 24)
    generator = torch.Generator().manual_seed(2)
    for row in range(23):  # the last row stays shut
        some = torch.randperm(24, generator=generator)[: 1 + row % per_row]
        weights[row, some] = torch.rand(len(some), generator=generator)
    ids = IDS.repeat(8, 1)
    assert ROW_COST * per_row < weights.any(dim=0).sum()  # few enough to go row by row
    with mixture(model, stacked, weights):
        together = logits(model, ids)
    assert torch.equal(together[23], logits(model, ids)[23])
    for row in range(23):
        with mixture(model, stacked, weights[[row]]):
            assert gap(logits(model, ids[[row]]), together[[row]]) < 1e-5
        assert gap(logits(model, ids[[row]]), together[[row]]) > 1e-3


def test_rows_with_few_open_memories_touch_no_others(model):
    """The memories of other rows, and closed ones, could hold anything."""
    stacked = stack([random_adapter(model, targets(model), seed=i) for i in range(24)])
    weights = torch.eye(24)[:21]
    with mixture(model, stacked, weights):
        clean = logits(model, IDS.repeat(7, 1))
    for half in (stacked.A, stacked.B):
        for tensor in half.values():
            tensor[[0, 21, 23]] = float("nan")
    with mixture(model, stacked, weights):
        assert torch.equal(logits(model, IDS.repeat(7, 1))[1:], clean[1:])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_folded_gate_is_the_mixture_and_leaves_no_trace(architecture):
    model = make_model(architecture)
    stacked = stack([random_adapter(model, targets(model, "all"), seed=i) for i in range(4)])
    weights = torch.softmax(torch.randn(1, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    plain, places = logits(model), {name: p.data_ptr() for name, p in model.named_parameters()}
    state = {name: p.clone() for name, p in model.named_parameters()}
    with mixture(model, stacked, weights):
        carried = logits(model)
    with mixture(model, stacked, weights, passes=10**9):
        assert any(p.data_ptr() != places[name] for name, p in model.named_parameters())  # it is folded
        assert gap(logits(model), carried) < 1e-4 * carried.abs().max()
        with pytest.raises(MemsciError, match="inside another block"), mixture(model, stacked, weights):
            pass
    with pytest.raises(KeyboardInterrupt), mixture(model, stacked, weights, passes=10**9):
        raise KeyboardInterrupt
    assert hooks(model) == 0 and torch.equal(logits(model), plain)
    for name, p in model.named_parameters():
        assert p.data_ptr() == places[name] and torch.equal(p, state[name])


def test_what_is_folded(model, stacked):
    """One gate for all rows, in a base that is precise enough, for passes enough to pay."""
    own = model.get_submodule(targets(model)[0]).weight.data_ptr()

    def folded(weights, passes) -> bool:
        with mixture(model, stacked, weights, passes):
            return model.get_submodule(targets(model)[0]).weight.data_ptr() != own

    assert folded(torch.rand(1, 4), 10**6) and folded(torch.ones(3, 4), 10**6)
    assert not folded(torch.rand(1, 4), 0) and not folded(torch.rand(3, 4), 10**6) and not folded(torch.zeros(1, 4), 10**6)
    pairs = {path: (stacked.A[path].flatten(0, 1), stacked.B[path].flatten(0, 1)) for path in stacked.A}
    pays = [folding_pays(pairs, passes) for passes in (0, 1, 10**6)]
    assert pays == sorted(pays) and pays[0] is False and pays[-1] is True
    model.bfloat16()
    own = model.get_submodule(targets(model)[0]).weight.data_ptr()
    assert not folded(torch.rand(1, 4), 10**6)


def test_shutting_little_moves_the_logits_little(model):
    """|z(g) - z(g')| is at most what `nucleus` says: the mass shut times the steepest slope on the way."""
    stacked = stack([random_adapter(model, targets(model), seed=i) for i in range(6)])
    scores = torch.randn(1, 6, generator=torch.Generator().manual_seed(3)) * 2
    names = tuple("abcdef")
    full = Gate(scores, scores.softmax(dim=1), names, names, 1.0)
    for epsilon in (0.02, 0.2, 0.6):
        cut = nucleus(full, epsilon)
        shut = (full.weights[0] > 0) & (cut.weights[0] == 0)
        assert shut.any()
        with mixture(model, stacked, full.weights):
            before = logits(model, IDS[:1])[0, -1, :20]
        with mixture(model, stacked, cut.weights):
            moved = (logits(model, IDS[:1])[0, -1, :20] - before).abs()
        steepest = torch.zeros_like(moved)
        for s in torch.linspace(0, 1, 21):
            point = (full.weights + s * (cut.weights - full.weights)).requires_grad_(True)
            with torch.enable_grad(), mixture(model, stacked, point):
                z = model(IDS[:1]).logits[0, -1, :20]
            slopes = torch.stack([torch.autograd.grad(one, point, retain_graph=True)[0][0] for one in z])  # [v, n]
            steepest = torch.maximum(steepest, slopes[:, shut].abs().amax(dim=1))
        assert moved.max() > 1e-4 and (moved <= 1.05 * epsilon * steepest + 1e-5).all()


def test_one_row_of_gates_serves_every_row(model, stacked):
    weights = torch.rand(1, 4)
    with mixture(model, stacked, weights):
        one = logits(model)
    with mixture(model, stacked, weights.expand(3, 4)):
        assert gap(logits(model), one) < 1e-5


def test_left_padding_changes_nothing(model, stacked):
    weights = torch.rand(2, 4)
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[0, :5] = 0
    with mixture(model, stacked, weights):
        padded = logits(model, IDS[:2], attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0))
    with mixture(model, stacked, weights[:1]):
        assert gap(logits(model, IDS[:1, 5:]), padded[:1, 5:]) < 1e-5


def test_order_of_memories_does_not_matter(model, adapters, stacked):
    weights, order = torch.rand(3, 4), [2, 0, 3, 1]
    with mixture(model, stacked, weights):
        before = logits(model)
    with mixture(model, stack([adapters[i] for i in order]), weights[:, order]):
        assert gap(logits(model), before) < 1e-5


def test_the_update_is_linear_in_the_gates(model, adapters, stacked):
    path = targets(model)[0]
    linear = model.get_submodule(path)
    x = torch.randn(2, 5, linear.in_features)
    g = torch.tensor([[0.3, 0.0, 0.6, 0.1], [1.0, 2.0, 0.0, -0.5]])
    with mixture(model, stacked, g):
        given = linear(x) - torch.nn.functional.linear(x, linear.weight)
    expected = sum(
        g[:, i, None, None] * adapter.scale * (x @ adapter.deltas[path][0].T) @ adapter.deltas[path][1].T
        for i, adapter in enumerate(adapters)
    )
    assert gap(given, expected) < 1e-5


def test_ranks_scales_and_places_may_differ(model):
    paths = targets(model)
    mixed = [
        random_adapter(model, paths, rank=2, seed=0),
        random_adapter(model, paths, rank=5, alpha=3, rslora=False, seed=1),
        random_adapter(model, targets(model, "attention", layers=[1]), rank=3, seed=2),
    ]
    stacked = stack(mixed)
    for i, adapter in enumerate(mixed):
        with mixture(model, stacked, onehot(i, 3)):
            among = logits(model)
        with mixture(model, stack([adapter]), torch.ones(1, 1)):
            assert gap(logits(model), among) < 1e-5
    for before, after in zip(mixed, unstack(stacked, mixed), strict=True):
        assert list(before.deltas) == list(after.deltas)
        for path, (A, B) in before.deltas.items():
            assert torch.equal(A, after.deltas[path][0]) and torch.equal(B, after.deltas[path][1])


def test_cache_on_equals_cache_off(model, stacked):
    weights = torch.rand(3, 4)
    with mixture(model, stacked, weights):
        whole = logits(model)
        cache, steps = None, []
        for t in range(IDS.shape[1]):
            with torch.no_grad():
                out = model(IDS[:, [t]], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            steps.append(out.logits)
    assert gap(torch.cat(steps, dim=1), whole) < 1e-5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_six_architectures(architecture):
    model = make_model(architecture)
    plain = logits(model)
    for where, count in (("mlp", 4), ("attention", None), ("all", None)):
        paths = targets(model, where)
        assert len(paths) == (count or len(paths)) and not any("gate_proj" in path for path in paths)
        fresh = init_adapter(model, paths, ENCODING, torch.Generator().manual_seed(0))
        with mixture(model, stack([fresh]), torch.ones(1, 1)):
            assert torch.equal(logits(model), plain)  # B is zero at the start
        adapter = random_adapter(model, paths)
        with mixture(model, stack([adapter]), torch.ones(1, 1)):
            mixed = logits(model)
        changed = make_model(architecture)
        for path, (A, B) in adapter.deltas.items():
            delta = adapter.scale * B @ A
            changed.get_submodule(path).weight.data += delta.T if adapter.transposed else delta
        merged = logits(changed)
        assert gap(mixed, plain) > 0.1 and gap(mixed, merged) < 1e-4 * merged.abs().max()


def test_the_base_is_given_back_after_an_exception(model, stacked):
    plain, state = logits(model), {k: v.clone() for k, v in model.state_dict().items()}
    halved = alone(model, stacked, in_bfloat16(model))
    for block in (mixture(model, stacked, torch.rand(3, 4)), alone(model, stacked), halved):
        with pytest.raises(KeyboardInterrupt), block:
            raise KeyboardInterrupt
    with pytest.raises(MemsciError), mixture(model, stacked, torch.rand(2, 4)):
        logits(model)  # fails inside a hook
    broken = Stack({**stacked.A, "model.layers.7.mlp.up_proj": stacked.A[targets(model)[0]]}, stacked.B, stacked.scales)
    broken.B["model.layers.7.mlp.up_proj"] = stacked.B[targets(model)[0]]
    with pytest.raises(MemsciError, match="another base"), mixture(model, broken, torch.rand(1, 4)):
        pass  # fails while the hooks are being set
    assert hooks(model) == 0
    assert torch.equal(logits(model), plain)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_blocks_do_not_nest(model, stacked):
    for inner in (mixture(model, stacked, onehot(1)), alone(model, stacked)):
        with mixture(model, stacked, onehot(0)):
            before = logits(model)
            with pytest.raises(MemsciError, match="inside another block"), inner:
                pass
            assert torch.equal(logits(model), before)  # the outer block still stands
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(4), r"shape \[4\]; \[b, 4\]"),
        (torch.ones(1, 3), r"shape \[1, 3\]; \[b, 4\]"),
        (torch.tensor([[0.5, 0.5, float("nan"), 0]]), "not a finite number"),
    ],
)
def test_gates_that_do_not_fit_are_refused(model, stacked, weights, message):
    with pytest.raises(MemsciError, match=message), mixture(model, stacked, weights):
        pass


def test_wrong_number_of_rows_is_refused(model, stacked):
    with pytest.raises(MemsciError, match="3 rows and the gates have 2"), mixture(model, stacked, torch.rand(2, 4)):
        logits(model)
    with pytest.raises(MemsciError, match="given 3 rows; 4 memories cannot share"), alone(model, stacked):
        logits(model)


@pytest.mark.parametrize("passes", [0, 10**6])  # through hooks, and folded into the weights
def test_rows_are_counted_also_where_all_gates_are_alike(model, stacked, passes):
    alike = torch.full((2, 4), 0.25)
    with mixture(model, stacked, alike, passes):
        logits(model, IDS[:2])
        with pytest.raises(MemsciError, match="3 rows and the gates have 2"):
            logits(model, IDS[:1].repeat(3, 1))


def test_rows_run_together_where_copies_for_each_would_be_too_large(model, stacked, monkeypatch):
    """Memory decides as time does, and nothing but rounding changes."""
    gates = torch.eye(4)
    monkeypatch.setattr("memsci.adapters.mixture.ROW_COST", 0)
    with mixture(model, stacked, gates):
        apart = logits(model, IDS[:1].repeat(4, 1))
    monkeypatch.setattr("memsci.adapters.mixture._by_row", None)  # not to be called
    monkeypatch.setattr("memsci.adapters.mixture.ROW_BYTES", stacked.nbytes - 1)  # four rows of one memory each take as much
    with mixture(model, stacked, gates):
        assert gap(logits(model, IDS[:1].repeat(4, 1)), apart) < 1e-5


def test_alone_gives_each_memory_its_rows(model, adapters, stacked):
    ids = IDS.repeat(4, 1)[:8]
    with alone(model, stacked):
        together = logits(model, ids)
    for i in range(4):
        with mixture(model, stacked, onehot(i)):
            assert gap(logits(model, ids[2 * i : 2 * i + 2]), together[2 * i : 2 * i + 2]) < 1e-5


def test_gradients_stay_within_a_memory(model, stacked):
    for tensor in stacked.parameters:
        tensor.requires_grad_(True)
    with alone(model, stacked):
        model(IDS.repeat(4, 1)).logits[3:6].sum().backward()  # rows of the second memory only
    for tensor in stacked.parameters:
        reached = tensor.grad.flatten(1).abs().amax(dim=1) > 0
        assert reached.tolist() == [False, True, False, False]
    assert all(p.grad is None for p in model.parameters())


def test_logits_at_chosen_positions(model):
    positions = torch.rand(IDS.shape, generator=torch.Generator().manual_seed(0)) > 0.5
    plain = logits(model)
    with logits_at(model, positions):
        assert gap(logits(model)[0], plain[positions]) < 1e-5
    assert hooks(model) == 0


def test_a_bfloat16_base_mixes_in_bfloat16(model, stacked):
    with mixture(model, stacked, torch.rand(1, 4)):
        exact = logits(model)
        model.bfloat16()
    with mixture(model, stacked, torch.rand(1, 4)):
        rounded = logits(model)
    assert rounded.dtype == torch.bfloat16 and exact.dtype == torch.float32
    assert all(tensor.dtype == torch.float32 for tensor in stacked.parameters)


def test_targets_are_explained(model):
    assert targets(model, layers=[1]) == ["model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"]
    with pytest.raises(MemsciError, match="must be one of 0, 1; 2 was given"):
        targets(model, layers=[2])
    with pytest.raises(MemsciError, match="'mlp', 'attention', 'all'; 'MLP'"):
        targets(model, "MLP")
    with pytest.raises(MemsciError, match="No layers with linear maps were found in Linear"):
        targets(torch.nn.Linear(2, 2))


def test_adapters_of_different_bases_do_not_stack(model, adapters):
    wide = make_model(width=64)
    with pytest.raises(MemsciError, match="do not fit the same base"):
        stack([adapters[0], random_adapter(wide, targets(wide))])


def test_scale_and_size():
    deltas = {"up": (torch.zeros(16, 8), torch.zeros(4, 16))}
    assert Adapter(deltas, 16, 16, True).scale == 4
    assert Adapter(deltas, 16, 8, False).scale == 0.5
    assert Adapter(deltas, 16, 16).nbytes == 4 * (16 * 8 + 4 * 16)
