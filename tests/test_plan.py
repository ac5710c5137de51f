"""Plans: shapes and bytes are those of the real model, calls those that a cell makes, and no weights are read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_model

from memsci import experiments, learners
from memsci.adapters import lora
from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.experiments import Cell, Experiment
from memsci.experiments.cells import run_cell
from memsci.memory import Memory, Partition, Question, QuizItem
from memsci.models import conversation, sites
from memsci.runs import choose, prepare
from memsci.runs.plan import KNOWN, count, plan, shape, size, time

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def test_llama_has_its_published_numbers():
    about = shape(LLAMA)
    assert about.parameters == 8_030_261_248
    assert all(tensor.is_meta for tensor in about.model.parameters())
    adapter = about.adapter(Encoding.paper())
    assert adapter.values.tolist() == [
        ["mlp.up_proj", "128 × 4096", "14336 × 128", 32, 32 * 128 * (4096 + 14336)],
        ["mlp.down_proj", "128 × 14336", "4096 × 128", 32, 32 * 128 * (4096 + 14336)],
    ]
    assert adapter["numbers"].sum() * 4 == 603_979_776  # bytes of a memory in float32


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400),
        ("meta-llama/Llama-3.2-3B-Instruct", 3_212_749_824),
        ("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768),
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
        ("smollm2", 134_515_008),
        ("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711_376_384),
    ],
)
def test_other_known_models_have_theirs(name, parameters):
    assert shape(name).parameters == parameters


def test_every_known_model_is_checked():
    assert len(KNOWN) == 8


def test_a_plan_for_llama_is_made_at_once_and_adds_up():
    found = plan(choose("main", ["episodic"], [0]), LLAMA)
    calls = found.calls.set_index("method")
    assert calls["cells"].tolist() == [1] * 9
    one, last = [1, 2, 5, 10, 20, 30, 40], 150
    asked = sum(stop + 2 for stop in one) + last
    assert calls.loc["Full", ["recalls", "answers", "scored"]].tolist() == [asked, 2 * asked, 2 * asked]
    assert calls.loc["RAG", ["recalls", "answers"]].tolist() == [0, asked]
    assert calls.loc["MEGa", "recalls"] == asked + last  # under the true gate too
    assert calls.loc["Full", "examples"] == calls.loc["MEGa", "examples"] == 50 * 10 * 10  # memories, epochs, texts
    assert calls.loc["Full batch", "steps"] == 50 * 10 * 10 / 2
    assert calls.loc["Full+EWC", "fisher"] == 50 * 10 and calls.loc["Full", "fisher"] == 0
    assert calls["quiz"].tolist() == [800] * 8 + [100]
    memory = found.memory.set_index("method")
    weights = 8_030_261_248
    assert memory.loc["Full", "VRAM"] > (2 + 16) * weights > memory.loc["LoRA", "VRAM"] > (2 + 4) * weights
    assert memory.loc["Full+EWC", "RAM"] - memory.loc["Full", "RAM"] == 8 * weights
    assert memory.loc["MEGa", "VRAM"] < 8e10  # as many memories at once as there is room for
    assert "8,030.3 million parameters" in found.facts["base"] and "150,994,944 numbers" in found.facts["adapter"]


def test_shapes_and_bytes_are_those_of_the_adapters_that_are_made(tmp_path):
    model = make_model("GPT2")
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()))
    about = shape(str(tmp_path))
    assert about.parameters == sum(tensor.numel() for tensor in model.parameters())
    for encoding in (Encoding(rank=3), Encoding(rank=2, where="all", layers=(1,))):
        made = lora.init_adapter(model, sites.targets(model, encoding.where, encoding.layers), encoding, torch.Generator())
        assert 4 * about.adapter(encoding)["numbers"].sum() == made.nbytes


def test_the_shipped_model_is_planned_with_its_own_presets():
    found = plan(choose("rank", ["episodic"], [0]))
    assert found.facts["base"].startswith("memsci/base, ")
    assert found.calls["cells"].tolist() == [8]


def test_a_run_expects_of_each_cell_what_the_plan_says(tmp_path):
    experiment = choose("main", ["episodic"], [0, 1], ["RAG", "MEGa"])
    expected = prepare(experiment, runs=tmp_path).expected
    calls = plan(experiment).calls.set_index("method")
    rag, mega, *_ = expected.values()
    assert 2 * rag < mega
    assert sum(expected.values()) == pytest.approx(3600 * calls["core hours"].sum())


def test_a_model_that_is_not_at_hand_is_not_fetched(tmp_path):
    with pytest.raises(MemsciError, match="memsci/base-2, .*Did you mean 'memsci/base-2'"):
        shape("memsci/base2")
    with pytest.raises(MemsciError, match="a plan downloads nothing"):
        shape("nobody/nothing-7B")
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(MemsciError, match="not that of a causal language model"):
        shape(str(tmp_path))


@pytest.fixture
def world():
    memories = tuple(
        Memory(f"Nora saw {k} birds.", f"m{k}", paraphrases=(f"{k} birds!",), questions=(Question(f"Day {k}?", str(k)),) * 2)
        for k in range(3)
    )
    return Partition("birds", memories, (Question("Which is more, and who saw it?", "2", ("m1", "m2")),))


@pytest.mark.parametrize(
    ("method", "measure", "study"),
    [
        ("Full", "continual", "text"),
        ("Full", "continual", "parts"),
        ("Full batch", "continual", "text"),
        ("Full batch", "continual", "parts"),
        ("MEGa", "continual", "text"),
        ("MEGa", "single", "parts"),
        ("Base", "compositional", "text"),
        ("In context", "compositional", "text"),
        ("MEGa", "compositional", "text"),
    ],
)
def test_calls_are_those_that_a_cell_makes(world, base, monkeypatch, method, measure, study):
    made = {"steps": 0, "say": 0, "logprob": 0, "choose": 0}
    noted = lambda name, call: (
        lambda base, turns, *rest: made.__setitem__(name, made[name] + len(turns)) or call(base, turns, *rest)
    )
    for name in ("say", "logprob", "choose"):
        monkeypatch.setattr(conversation, name, noted(name, getattr(conversation, name)))
    settings = {"rank": 2, "epochs": 2, "text_copies": 2, "text_epochs": 3, "batch_size": 2}
    resolve, encoding = learners.resolve, Encoding(**settings, study=study)
    changed = lambda name, base, *_, **how: resolve(name, base, encoding, **how)
    monkeypatch.setattr("memsci.learners.by_name.resolve", changed)
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *a, **k: made.update(steps=made["steps"] + 1) or step(self))
    monkeypatch.setattr("memsci.adapters.encode.PASS_TOKENS", {"cpu": 1})  # one memory at a time
    monkeypatch.setattr("memsci.learners.mega.MEGa.recall_tokens", 8)
    rules = ("beta=0.1", "k=2", "beta=2; k=2") if (method, measure) == ("MEGa", "compositional") else ()
    ways = ("direct", "recall first", "recall first, in parts") if rules else ("direct",)
    how = {"stops": (1,), "questions": 2, "ways": ways, "rules": rules}
    cell = Cell(measure=measure, dataset="d", partitions=(0,), method=method, **how)
    quiz = [QuizItem("sums", "One and one?", ("2", "3", "4", "5"), 0)] * 3 if measure == "continual" else []
    run_cell(cell, base, [world], quiz)
    given = changed(method, base.name)
    expected = count(cell, [world], given.encoding, len(quiz))
    assert made["say"] == expected.recalls + expected.answers
    assert made["logprob"] == expected.scored and made["choose"] == expected.quiz
    assert made["steps"] == expected.steps


def test_a_real_base_is_planned_with_what_suits_its_memories():
    found = plan(choose("main", ["episodic"], [0], methods=["MEGa", "Full"], memories=3), "smollm2")
    steps = found.calls.set_index("method")["steps"]
    suited = Encoding.suited(134_515_008, experiments.partition("episodic", 0).memories[:3])
    assert steps["MEGa"] == steps["Full"] == 3 * suited.epochs * 2 * 10  # a recall and a question of each of ten wordings


def test_sizes_to_read():
    assert [size(n) for n in (12, 1500, 603_979_776, 16_060_522_496, 3e13)] == [
        "12 B", "1.5 kB", "604 MB", "16.1 GB", "30 TB",
    ]  # fmt: skip


def test_an_experiment_is_planned_with_the_base_that_it_names():
    one = choose("main", ["episodic"], [0], methods=["MEGa"], memories=3)
    named = replace(one, base="smollm2")
    assert plan(named).facts["base"] == plan(one, "smollm2").facts["base"] != plan(one).facts["base"]
    assert plan(named, LLAMA).facts["base"] == plan(one, LLAMA).facts["base"]
    own = {name for name in experiments.names() if experiments.load(name).base}
    assert own == {"main-wiki-smollm2", "human_qa", *(name for name in experiments.names() if name.endswith("_plain"))}


def test_only_what_is_asked_for_is_planned():
    what = {"measure": "gates", "methods": ("by embedding",), "datasets": ("episodic",), "partitions": (0,)}
    found = plan(Experiment(name="t", title="T", **what))
    assert found.adapter is None and found.calls["steps"].sum() == 0
    world = experiments.partition("episodic", 0)
    assert found.calls["embedded"].sum() == 50 + sum(len(memory.questions) for memory in world)


@pytest.mark.parametrize("name", ["beta", "compositional", "embedding-layers", "embedding-models", "l2", "prompts", "rank"])
def test_the_time_planned_is_that_of_the_shipped_run_within_a_factor_of_two(name):
    folder = Path(__file__).parents[1] / "figures" / "runs" / name
    ran, took = (json.loads((folder / file).read_text()) for file in ("config.json", "run.json"))
    ran = ran["experiment"]
    found = plan(choose(name, ran["datasets"], ran["partitions"], ran["methods"], ran["stops"], ran.get("memories")))
    assert 0.5 < 3600 * found.calls["core hours"].sum() / took["seconds"] < 2


def test_a_plan_is_read_in_numbers_that_people_use():
    one = plan(choose("main", ["episodic"], [0], methods=["MEGa"]))
    assert one.facts["cells"] == "1: 1 method, 1 partition of 50 memories"
    large = plan(choose("main"), LLAMA)
    assert re.fullmatch(r"[\d,]+ h \(\d+(\.\d)? years\) on one core, [\d.]+ h on one GPU .*", large.facts["time"])
    assert [time(hours) for hours in (0.001, 0.5, 1.9, 30)] == ["1 min", "30 min", "114 min", "30 h"]
