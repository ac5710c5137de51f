"""Experiments: their files, the grid of cells, and the work of a cell on a model of a few thousand numbers."""

from __future__ import annotations

import dataclasses
import json
import re

import pandas as pd
import pytest
import torch
from conftest import make_model

from memsci import experiments, prompts, runs
from memsci.errors import MemsciError
from memsci.experiments import Cell, Experiment, cells, load, numbers, parse, show_numbers
from memsci.experiments.cells import learner_settings, run_cell
from memsci.experiments.rehearsal import check, rehearse
from memsci.experiments.settings import region
from memsci.files import content
from memsci.gate.softmax import Gate
from memsci.learners import by_name
from memsci.measures import methods
from memsci.measures.metrics import METRICS
from memsci.memory import Memory, Partition, Question, QuizItem, to_frame
from memsci.models import conversation
from memsci.runs import choose, lay_out

SHIPPED = (
    "beta compositional embedding-layers embedding-models embedding-sequence l2 main paraphrases prompts rank "
    "regularisation where-lora"
).split()


def small(**changes) -> Experiment:
    return Experiment(**{"name": "small", "title": "Small", "measure": "continual", "methods": ("Base",), **changes})


# Files and grids


def test_all_experiments_of_the_paper_are_there():
    assert experiments.names() == sorted([*SHIPPED, "main-wiki-smollm2", *experiments.PHENOMENA])


@pytest.mark.parametrize("name", SHIPPED)
def test_each_experiment_unfolds_into_cells_that_a_learner_understands(name):
    experiment = load(name)
    cells = experiment.cells()
    assert len({json.dumps(vars(cell), default=str) for cell in cells}) == len(cells) > 0
    assert experiment.title and set(experiment.datasets) == {"episodic", "semantic"}
    world = experiments.partition("episodic", 0)
    for cell in cells:
        assert bool(learner_settings(cell, world, "memsci/base", 5)) == (experiment.measure != "gates")


def test_main_is_the_papers():
    main = load("main")
    assert {*main.methods, "In context"} == set(methods.names()) and len(main.partitions) == 20
    cells = main.cells()
    assert len(cells) == 2 * 20 * 9
    stops = {cell.method: cell.stops_for(50) for cell in cells}
    assert stops["MEGa"] == [1, 2, 5, 10, 20, 30, 40, 50] and stops["Full batch"] == [50]
    assert [cell.method for cell in cells[:9]] == list(main.methods)


def test_prompts_are_seventy():
    (cells,) = [[cell for cell in load("prompts").cells() if cell.dataset == "episodic"]]
    assert len(cells) == 70 and cells[0].setting == "prompt=fact-1"


def test_betas_share_one_cell():
    cells = load("beta").cells()
    assert len(cells) == 10 and cells[0].setting == "" and len(cells[0].rules) == 14


def test_all_partitions_together_are_one_cell():
    cells = [cell for cell in load("embedding-models").cells() if cell.method == "by count"]
    assert [(cell.dataset, cell.partition) for cell in cells] == [("episodic", "0-19"), ("semantic", "0-19")]


def test_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('title = "T"\nmeasure = "continual"\nmethods = ["LoRA"]\nsettings = ["lr=1e-3"]\npartitions = "1,3-4"')
    mine = load(file)
    assert mine.name == "mine" and mine.partitions == (1, 3, 4) and mine.settings == {"LoRA": ("lr=1e-3",)}
    for text, why in (
        ("title = 3 = 4", "not valid TOML"),
        ('title = "T"\nmeasure = "continual"', "lacks the key 'methods'"),
        ('colour = "red"', "'colour' was given"),
        ('title = "T"\nmeasure = "single"\nmethods = ["LoRA"]', "'LoRA' was given"),
    ):
        file.write_text(text)
        with pytest.raises(MemsciError, match=why):
            load(file)
    file.write_bytes(b'title = "\xff"')
    with pytest.raises(MemsciError, match="'mine' is not valid TOML"):
        load(file)
    for path in (tmp_path / "none.toml", file / "below.toml"):
        with pytest.raises(MemsciError, match="cannot be read"):
            load(path)
    with pytest.raises(MemsciError, match="experiment must be one of 'beta'"):
        load("mian")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"measure": "some"}, "measure must be"),
        ({"methods": ()}, "has no methods"),
        ({"methods": ("iRAG",)}, "'iRAG' was given"),
        ({"ways": ("sideways",)}, "way must be"),
        ({"stops": (5, 2)}, "stops must be"),
        ({"stops": (0, 2)}, "stops must be"),
        ({"questions": 2.5}, "questions must be a whole number from 1 up; 2.5"),
        ({"questions": 0}, "questions must be"),
        ({"quiz": -1}, "quiz must be"),
        ({"settings": {"Base": ("lr",)}}, "name=value"),
        ({"settings": {"Bas": ("lr=1",)}}, "'Bas' was given"),
        ({"settings": {"MEGa": [1, 2]}}, r"settings of MEGa must be a list of texts, each of them once; \[1, 2\]"),
        ({"settings": {"MEGa": "rank=1"}}, "settings of MEGa must be a list"),
        ({"settings": {"MEGa": ("rank=1", "rank=1")}}, "settings of MEGa must be"),
        ({"methods": ("MEGa", "MEGa")}, "methods of the experiment '.*' must be a list of texts, each of them once"),
        ({"partitions": (0, 1, 0)}, "partitions of .* must be a list of whole numbers, each of them once"),
        ({"partitions": 3}, "partitions of .* must be a list of whole numbers"),
        ({"stops": 5}, "stops of .* must be a list of whole numbers"),
        ({"stops": (2, 2)}, "stops of .* must be"),
        ({"figures": ("confusion",)}, "a figure of the measure 'continual' must be one of 'forgetting_curve'"),
        ({"measure": "gates", "methods": ("by layer",), "figures": ("sweep",)}, "'sweep' was given"),
        ({"figures": "sweep"}, "figures of .* must be a list of texts"),
        ({"paper_table": 5}, "paper_table must be one of None, 1, 2, 3, 4; 5 was given"),
        ({"base": 3}, "base of the experiment '.*' must be the name of a model, such as \"smollm2\".*; 3 was given"),
        ({"datasets": ("a/mine.csv", "b/mine.csv")}, r"names of the data sets must be .* once; \('mine.csv', 'mine.csv'\)"),
    ],
)
def test_what_is_not_allowed_is_named(change, why):
    with pytest.raises(MemsciError, match=why):
        small(**change)


def test_settings_are_read_as_what_they_are():
    read = parse("strength=0.1; where=attention;rank=8; a=true; b=none; layers=0,2; beta=inf; poolings=mean,")
    assert read == {
        "strength": 0.1, "where": "attention", "rank": 8, "a": True, "b": None, "layers": (0, 2), "beta": float("inf"),
        "poolings": ("mean",),
    }  # fmt: skip
    assert parse("") == {} and isinstance(parse("k=2")["k"], int)
    for wrong in ("rank", "=3", "rank=1; rank=2"):
        with pytest.raises(MemsciError, match="name=value"):
            parse(wrong)


def test_numbers_and_back():
    assert numbers("0-3, 7") == (0, 1, 2, 3, 7) and show_numbers((0, 1, 2, 3, 7)) == "0-3,7"
    for wrong in ("", "a", "3-1", "9-5,3", "1,1", "-2", "1-"):
        with pytest.raises(MemsciError):
            numbers(wrong)


def test_stops_end_with_the_partition():
    cell = Cell(measure="continual", dataset="d", partitions=(0,), method="Base", stops=(1, 4, 9))
    assert [cell.stops_for(n) for n in (3, 4, 12)] == [[1, 3], [1, 4], [1, 4, 9, 12]]


def test_layers_by_region_are_the_papers_on_its_model():
    assert region("early", 32) == tuple(range(0, 10)) and region("middle", 32) == tuple(range(9, 21))
    assert region("late", 32) == tuple(range(20, 32))
    assert [region(name, 2) for name in ("early", "middle", "late")] == [(0,), (0,), (0, 1)]
    with pytest.raises(MemsciError, match="'top' was given"):
        region("top", 5)


# Data


def test_a_table_is_cut_into_partitions_of_fifty(tmp_path):
    path = tmp_path / "mine.csv"
    pd.DataFrame({"text": [f"Number {k} was called." for k in range(60)]}).to_csv(path, index=False)
    assert [len(experiments.partition(str(path), k)) for k in (0, 1)] == [50, 10]
    assert experiments.partition(str(path), 1).name == "mine.csv-1"
    with pytest.raises(MemsciError, match="a partition of"):
        experiments.partition(str(path), 2)
    with pytest.raises(MemsciError, match="dataset must be one of 'episodic'"):
        experiments.partition("episodes", 0)


def test_a_table_that_was_changed_is_read_anew(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("text\nNora saw birds.\nTom saw none.\n")
    assert len(experiments.partition(str(table), 0)) == 2
    table.write_text("text\nNora saw birds.\n")
    assert [memory.text for memory in experiments.partition(str(table), 0)] == ["Nora saw birds."]


def test_what_memories_lack_is_said_before_anything_is_learnt(tmp_path):
    chosen = runs.choose("compositional", ["semantic"], [0], memories=10)
    with pytest.raises(MemsciError, match="has no compositional questions"):
        runs.prepare(chosen, runs=tmp_path / "runs")
    table = tmp_path / "mine.csv"
    table.write_text("text\nNora saw birds.\nTom saw none.\n")
    for name in ("main", "rank"):
        with pytest.raises(MemsciError, match="None of the . memories has a question"):
            runs.prepare(runs.choose(name, [str(table)], [0], methods=["MEGa"]), runs=tmp_path / "runs")
    chosen = runs.choose("beta", ["semantic"], [0], memories=10)
    with pytest.raises(MemsciError, match="has no compositional questions"):
        runs.prepare(chosen, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


FEW = [
    Memory(
        f"Nora saw {k} birds.", f"m{k}", paraphrases=(f"{k} birds!",), questions=(Question(f"How many on day {k}?", str(k)),)
    )
    for k in range(3)
]  # fmt: skip


@pytest.fixture
def rehearsed(base, tmp_path, monkeypatch):
    """Rehearse an experiment on three memories, of which the last may be another."""
    monkeypatch.setattr("memsci.evaluate.scores.embedder", lambda *_: lambda texts: [[1.0, len(text)] for text in texts])

    def act(last=FEW[2], quiz=(), **changes):
        to_frame([*FEW[:2], last]).to_json(file := tmp_path / "birds.jsonl", orient="records", lines=True)
        mine = small(**{"datasets": (str(file),), "partitions": (0,), "methods": ("MEGa",), **changes})
        tasks = mine.tasks(lambda cell, world: learner_settings(cell, world, base.name, 2))
        rehearse(tasks, base, quiz)
        return tasks

    return act


def changed(**what) -> Memory:
    return dataclasses.replace(FEW[2], **what)


def asked(question: str, answer: str) -> Memory:
    return changed(questions=(Question(question, answer),))


def gates(method: str, setting: str) -> dict:
    return {"measure": "gates", "methods": (method,), "settings": {method: (setting,)}}


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ({"last": changed(text="a bird " * 80)}, "Memory m2 with its prompt takes .* tokens; tiny reads at most 512"),
        ({"last": changed(paraphrases=("a bird " * 80,))}, "Memory m2 with its prompt takes"),
        ({"last": asked("How many birds " * 30, "2"), "methods": ("Base",)}, "The question 'How many .* takes"),
        ({"last": asked("How many birds " * 9, "2"), "ways": ("recall first",)}, "The question 'How many .* takes"),
        ({"last": changed(text="a bird " * 60), "methods": ("RAG",)}, "The question 'How many .* takes"),
        ({"last": asked("How many?", "...")}, r"Memory m2, question 'How many\?': The true answer '...' has no word"),
        ({"quiz": [QuizItem("sums", "One and one? " * 40, ("2", "3", "4", "5"), 0)]}, "The question 'One and one"),
        ({"settings": {"MEGa": ("layers=0", "layers=9")}}, "a layer of .* must be one of 0, 1; 9 was given"),
        ({"methods": ("LoRA",), "settings": {"LoRA": ("layers=9",)}}, "a layer of .* 9 was given"),
        ({"settings": {"MEGa": ("layer=7",)}}, "layer"),
        ({"settings": {"MEGa": ("pooling=idf",)}}, "fitted to the texts of all memories"),
        ({"settings": {"MEGa": ("kind=sentence; model=nobody/nothing",)}}, "embedding model 'nobody/nothing'"),
        ({"settings": {"MEGa": ("paraphrases=2",)}}, "paraphrases of .* must be a whole number from 0 to 1; 2"),
        (gates("by layer", "similarities=dot"), "similarity .*'dot'"),
        (gates("by layer", "speed=9"), "'sites', .*; 'speed' was given"),
        (gates("by embedding", "sites=mlp"), "by embedding has no settings; 'sites' was given"),
    ],
)
def test_what_would_fail_in_a_cell_is_said_before_anything_is_learnt(rehearsed, monkeypatch, what, why):
    monkeypatch.setattr("memsci.learners.base.Learner.learn", lambda *_, **how: pytest.fail("learnt"))
    with pytest.raises(MemsciError, match=why):
        rehearsed(**what)


def test_what_can_be_run_passes_its_rehearsal(rehearsed):
    quiz = [QuizItem("sums", "One and one?", ("2", "3", "4", "5"), 0)]
    assert len(rehearsed(methods=tuple(methods.names()), quiz=quiz, last=asked("How many?", "★"))) == len(methods.names())
    rehearsed(**gates("by layer", "similarities=cosine; sites=both"))


def test_scoring_is_rehearsed(rehearsed, monkeypatch):
    broken = dataclasses.replace(METRICS["logprob"], measure=lambda rows, embed: rows["logprob"] * float("nan"))
    with monkeypatch.context() as patch, pytest.raises(MemsciError, match="have no finite number"):
        patch.setitem(METRICS, "logprob", broken)
        rehearsed()

    def lacking(*_):
        raise MemsciError("Cannot load the embedding model")

    monkeypatch.setattr("memsci.evaluate.scores.embedder", lacking)
    with pytest.raises(MemsciError, match="Cannot load the embedding model"):
        rehearsed(methods=("Base",))


def test_sources_are_read_before_the_model(tmp_path, monkeypatch):
    monkeypatch.setattr("memsci.models.base.load", lambda *a, **k: pytest.fail("read a model"))
    (tmp_path / "file.csv").write_text("")
    for chosen, quiz in ((choose("main"), str(tmp_path / "file.csv")), (choose("l2", [str(tmp_path / "no.csv")], [0]), "")):
        with pytest.raises(MemsciError, match="cannot be read|there is no"):
            runs.prepare(chosen, runs=tmp_path / "runs", quiz=quiz)
    assert not (tmp_path / "runs").exists()


def test_what_is_drawn_of_an_experiment_decides_no_number():
    plain, drawn = small(), small(figures=("method_bars",), paper_table=1, base="smollm2")
    assert plain.to_dict() == drawn.to_dict() and plain.cells() == drawn.cells()


def test_only_the_first_memories_are_taken(tmp_path):
    whole, few = (choose("compositional", ["episodic"], [0, 3], memories=n) for n in (None, 20))
    assert "memories" not in whole.to_dict() and few.to_dict()["memories"] == 20
    for key, world in few.worlds().items():
        full = whole.worlds()[key]
        assert len(full) == 50 and world.memories == full.memories[:20]
        known = {memory.id for memory in world}
        assert world.compositional == tuple(q for q in full.compositional if set(q.about) <= known) != full.compositional
    base = {"name": "b", "fingerprint": "f", "tokenizer": "t", "dtype": "float32", "device": "cpu"}
    made = [lay_out(one, base, one.tasks(lambda *_: {}), 0, tmp_path).begin() for one in (whole, few)]
    assert made[0].folder != made[1].folder and not {job.id for job in made[0].jobs} & {job.id for job in made[1].jobs}
    assert [len(job.partitions[0]) for job in made[1].jobs] == [20] * len(made[1].jobs)
    about = [json.loads((one.folder / "run.json").read_text()) for one in made]
    assert "memories" not in about[0] and about[1]["memories"] == 20
    with pytest.raises(MemsciError, match="memories of episodic-00 must be"):
        choose("rank", ["episodic"], [0], memories=51).worlds()
    with pytest.raises(MemsciError, match="memories must be"):
        choose("rank", memories=0)


def test_content_depends_on_every_word_and_on_nothing_else():
    one = Partition("p", (Memory("A cat sat.", questions=(Question("Who?", "A cat"),)),))
    same = Partition("p", (Memory("A cat sat.", questions=(Question("Who?", "A cat"),)),))
    other = Partition("p", (Memory("A cat sat.", questions=(Question("Who?", "The cat"),)),))
    assert content(one) == content(same) != content(other)
    assert content({"b": 1, "a": (2,)}) == content({"a": [2], "b": 1})


# Cells


class Fake:
    """Notes what it learns and says its method's name."""

    recalls, gated = True, True

    def __init__(self, name, settings):
        self.name, self.settings, self.learnt = name, settings, []
        from memsci.config import GateRule

        self.rule = GateRule()

    def learn(self, memories, progress=True):
        first = len(self.learnt) + 1
        self.learnt += [memory.id for memory in memories]
        rows = [(memory.id, first + k, 0.5, 9.9) for k, memory in enumerate(memories)]
        return pd.DataFrame(rows, columns=["memory_id", "position", "loss", "seconds"])

    def recall(self, questions, gate=None, max_new_tokens=0):
        return [f"recall under {self.rule.beta:g}" for _ in questions]

    def answer(self, questions, recalled=None, gate=None, max_new_tokens=0):
        return [f"{len(self.learnt)} learnt, beta {self.rule.beta:g}" for _ in questions]

    def logprob(self, questions, targets, recalled=None, gate=None):
        return pd.DataFrame({"logprob": [-1.0] * len(questions), "tokens": [2] * len(questions)})

    def choose(self, items, by="letter"):
        return [0] * len(items)

    def true_gate(self, ids):
        weights = torch.zeros(len(ids), len(self.learnt))
        return Gate(weights, weights, tuple(self.learnt), tuple(self.learnt), 1.0)

    def top(self, questions):
        return [self.learnt[0]] * len(questions)


@pytest.fixture
def world():
    memories = tuple(
        Memory(
            f"Nora saw {k} birds.", f"m{k}", paraphrases=(f"{k} birds!", f"There were {k} birds."),
            questions=(Question(f"How many on day {k}?", str(k)), Question(f"Who on day {k}?", "Nora")),
        )
        for k in range(4)
    )  # fmt: skip
    return Partition("birds", memories, (Question("Which is more?", "3", ("m1", "m3")),))


@pytest.fixture
def fake(monkeypatch, base):
    made = []

    def make(name, base, seed=0, memories=(), **settings):
        made.append(Fake(name, settings))
        return made[-1]

    monkeypatch.setattr("memsci.learners.by_name.make", make)
    return made


def cell(measure, **changes) -> Cell:
    return Cell(**{"measure": measure, "dataset": "birds", "partitions": (0,), "method": "MEGa", "questions": 2, **changes})


QUIZ = [QuizItem("sums", "One and one?", ("2", "3", "4", "5"), 0)]


def test_a_continual_cell_asks_one_question_of_each_and_all_at_the_end(fake, base, world):
    steps = []
    tables = run_cell(cell("continual", stops=(1, 3)), base, [world], QUIZ, lambda *step: steps.append(step))
    said = tables["responses"]
    assert list(said.columns[:5]) == ["dataset", "partition", "method", "setting", "stop"]
    asked = said[said["gate"] == "own"].groupby("stop")["memory_id"].apply(list).to_dict()
    assert asked == {
        1: ["m0", "m0"], 3: ["m0", "m0", "m1", "m2"], 4: ["m0", "m0", "m1", "m1", "m2", "m2", "m3", "m3"],
    }  # fmt: skip
    assert said.loc[said["gate"] == "true", "stop"].tolist() == [4] * 8
    assert said.loc[said["stop"] == 3, "answer"].str.startswith("3 learnt").all()
    assert tables["quiz"]["stop"].tolist() == [1, 3, 4] and tables["quiz"]["correct"].all()
    assert tables["training"]["position"].tolist() == [1, 2, 3, 4] and "seconds" not in tables["training"]
    assert len(fake) == 1 and steps == [(0, 3), (1, 3), (2, 3)]


def test_settings_reach_the_learner_and_the_data(fake, base, world):
    seen = []
    learn = Fake.learn
    try:
        Fake.learn = lambda self, memories, progress=True: seen.extend(memories) or learn(self, memories)
        tables = run_cell(cell("single", setting="rank=4; layers=late; paraphrases=1"), base, [world])
    finally:
        Fake.learn = learn
    assert fake[0].settings == {"rank": 4, "layers": (0, 1)}
    assert {len(memory.paraphrases) for memory in seen} == {1}
    assert set(tables["responses"]["gate"]) == {"true"} and len(tables["responses"]) == 8
    assert set(tables["responses"]["setting"]) == {"rank=4; layers=late; paraphrases=1"}
    with pytest.raises(MemsciError, match="paraphrases of birds must be a whole number from 0 to 2; 3"):
        run_cell(cell("single", setting="paraphrases=3"), base, [world])


def test_what_all_methods_share_reaches_those_that_read_it(fake, base, world):
    shared = cell("single", common="autocast=true; newest=2", setting="rank=4")
    run_cell(shared, base, [world])
    assert fake[0].settings == {"autocast": True, "rank": 4}
    assert learner_settings(shared, world, "memsci/base", 5)["encoding"]["autocast"] is True
    run_cell(dataclasses.replace(shared, common="rank=2"), base, [world])
    assert fake[1].settings == {"rank": 4}  # its own setting comes last

    chosen = choose("main", common="autocast=true")
    assert {one.common for one in chosen.cells()} == {"autocast=true"}
    assert chosen.to_dict()["common"] == "autocast=true" and "common" not in choose("main").to_dict()
    check(chosen)
    check(choose("main", common="k=2"))  # of RAG and of MEGa's gate
    with pytest.raises(MemsciError, match="a setting of Base, RAG, MEGa.*'speed' was given"):
        check(choose("main", common="speed=9"))
    with pytest.raises(MemsciError, match="'beta' was given"):
        check(choose("l2", common="beta=1"))
    with pytest.raises(MemsciError, match="'autocast' was given"):
        check(choose("embedding-layers", common="autocast=true"))
    with pytest.raises(MemsciError, match="a learner of cues must be one of 'MEGa'; 'RAG' was given"):
        check(choose("cues", methods=["RAG"]))


def test_a_run_on_a_real_base_says_what_its_learner_has(base, world, monkeypatch):
    """Above the size of toys, defaults are fitted to the memories: those that stand in a run's settings are those used."""
    monkeypatch.setattr("memsci.learners.by_name.SMALL", 1)
    monkeypatch.setattr("memsci.learners.mega.SMALL", 1, raising=False)
    found, make = [], by_name.make
    monkeypatch.setattr(by_name, "make", lambda *how, **what: found.append(make(*how, **what)) or found[-1])
    few = dataclasses.replace(world, memories=world.memories[:1], compositional=())
    told = learner_settings(cell("single", setting="lr=0.001"), few, base.name, 2, base.model.num_parameters())
    monkeypatch.setattr("memsci.learners.base.Learner.learn", lambda *_, **how: (_ for _ in ()).throw(InterruptedError))
    with pytest.raises(InterruptedError):
        run_cell(cell("single", setting="lr=0.001"), base, [few])
    (mega,) = found
    assert told["encoding"] == mega.encoding.to_dict() != learner_settings(cell("single"), few, base.name, 2)["encoding"]
    assert told["embedding"] == mega.embedding.to_dict() and told["rule"] == mega.rule.to_dict()


def test_betas_are_tried_on_one_learner(fake, base, world):
    rules = ("beta=0.5", "beta=2", "beta=2; questions=compositional")
    tables = run_cell(cell("beta", rules=rules), base, [world])
    said = tables["responses"]
    assert len(fake) == 1 and fake[0].learnt == ["m0", "m1", "m2", "m3"]
    assert said.groupby("setting")["answer"].first().tolist() == [f"4 learnt, beta {beta}" for beta in ("0.5", "2", "2")]
    assert said.groupby("setting", sort=False).size().tolist() == [8, 8, 1]
    with pytest.raises(MemsciError, match="'triple' was given"):
        run_cell(cell("beta", rules=("questions=triple",)), base, [world])


def test_compositional_questions_are_asked_at_the_end(fake, base, world):
    said = run_cell(cell("compositional", setting="beta=0.1"), base, [world])["responses"]
    assert said["memory_id"].tolist() == ["m1 m3", "m1 m3"] and said["gate"].tolist() == ["own", "true"]


def test_gates_of_compositional_questions_are_tried_on_one_learner(fake, base, world):
    """Under the true gate only what differs in more than whom it opens, and a number of recalls only after recalls."""
    rules = ("beta=0.1", "beta=0.1; top_k=2", "k=2", "beta=3; k=2")
    ways = ("direct", "recall first", "recall first, in parts")
    said = run_cell(cell("compositional", rules=rules, ways=ways), base, [world])["responses"]
    assert len(fake) == 1 and fake[0].learnt == ["m0", "m1", "m2", "m3"]
    found = [key for key, _ in said.groupby(["setting", "gate", "way"], sort=False)]
    expected = [("beta=0.1", gate, way) for gate in ("own", "true") for way in ways]
    expected += [("beta=0.1; top_k=2", "own", way) for way in ways]
    expected += [("k=2", gate, way) for gate in ("own", "true") for way in ways[1:]]
    assert found == expected + [("beta=3; k=2", "own", way) for way in ways[1:]]
    assert said["answer"].tolist()[-1].endswith("beta 3")


def test_a_learner_whose_gate_alone_differs_learns_once():
    mine = small(measure="compositional", methods=("RAG", "MEGa"), partitions=(0,), datasets=("episodic",))
    once = dataclasses.replace(mine, settings={"RAG": ("k=1", "k=2"), "MEGa": ("beta=0.1", "k=2; top_k=3")})
    assert [(c.method, c.setting, c.rules) for c in once.cells()] == [
        ("RAG", "k=1", ()), ("RAG", "k=2", ()), ("MEGa", "", ("beta=0.1", "k=2; top_k=3")),
    ]  # fmt: skip
    for settings in (("beta=0.1",), ("beta=0.1", "rank=4")):
        each = dataclasses.replace(mine, settings={"MEGa": settings}).cells()
        assert [c.setting for c in each if c.method == "MEGa"] == list(settings) and not any(c.rules for c in each)


def test_the_right_texts_are_read_in_context(base, world):
    said = run_cell(cell("compositional", method="In context", ways=("direct", "recall first")), base, [world])["responses"]
    assert said["gate"].tolist() == ["true"] and said["way"].tolist() == ["direct"] and said["top_id"].tolist() == ["m1"]
    both = f"{world.memories[1].text}\n\n{world.memories[3].text}"
    turn = prompts.rag("Which is more?", both)
    assert said["answer"].tolist() == conversation.say(base, [turn], conversation.ANSWER_TOKENS)


@pytest.mark.parametrize(("k", "holds"), [("2", True), ("3", True), ("4", False), ("0.9", False), ("0.9; top_k=2", True)])
def test_recalls_that_have_no_room_are_found_before_anything_is_learnt(base, world, k, holds):
    """The room is that of a question, three recalls of the longest memory, and an answer."""
    mine = small(measure="compositional", methods=("MEGa",), ways=("recall first",), datasets=("episodic",), partitions=(0,))
    mine = dataclasses.replace(mine, settings={"MEGa": (f"k={k}", "beta=2")})
    (one,) = mine.cells()
    task = experiments.Task(one, [world], learner_settings(one, world, base.name, 2))
    longest = max(len(base.reply(memory.text)) for memory in world)
    frame = len(base.chat(prompts.irag("How many on day 0?", "-")))
    base.max_length = frame + 3 * longest + conversation.ANSWER_TOKENS
    if holds:
        rehearse([task], base)
    else:
        with pytest.raises(MemsciError, match="with what stands before it and the longest reply"):
            rehearse([task], base)


@pytest.mark.parametrize(
    ("method", "setting"), [("by layer", "similarities=cosine; poolings=mean"), ("by embedding", ""), ("by count", "")]
)
def test_gates(base, world, monkeypatch, method, setting):
    from memsci.config import Embedding
    from memsci.evaluate import gate_accuracy as gating

    few = {"own": (Embedding.paper(), "inner"), "words": (Embedding(kind="words"), "cosine")}
    by_embedding, by_count = gating.by_embedding, gating.by_count
    monkeypatch.setattr(gating, "EMBEDDINGS", few)
    monkeypatch.setattr(gating, "by_embedding", lambda base, memories, one=few: by_embedding(base, memories, one))
    monkeypatch.setattr(gating, "by_count", lambda base, parts: by_count(base, parts, None, few))
    gates = run_cell(cell("gates", method=method, setting=setting), base, [world])["gates"]
    assert list(gates.columns) == ["dataset", "partition", "comparison", *gating.COLUMNS]
    assert set(gates["comparison"]) == {method} and set(gates["partition"]) == {0}
    assert len(gates) == 8 * {"by layer": 4, "by embedding": 2, "by count": 2}[method]


class Lenient:
    """A judge to whom all is right."""

    metric, protocol = "qa by model", "All is right."

    def __call__(self, responses):
        return [True] * len(responses)


def test_from_the_folder_of_a_model_to_curves(tmp_path, tokenizer, world, monkeypatch):
    """The whole way once: two methods on four memories, in this process."""
    from memsci.config import Encoding
    from memsci.runs import folder as files
    from memsci.runs.worker import work

    monkeypatch.setattr(Encoding, "paper", classmethod(lambda cls: cls(rank=2, epochs=1, batch_size=3)))
    monkeypatch.setattr("memsci.evaluate.scores.embedder", lambda *_: lambda texts: [[1.0, len(text)] for text in texts])
    make_model().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    to_frame(world.memories).to_json(tmp_path / "birds.jsonl", orient="records", lines=True)
    chosen = small(methods=("Base", "MEGa"), datasets=(str(tmp_path / "birds.jsonl"),), partitions=(0,), stops=(2,), quiz=1)
    prepared = runs.prepare(chosen, str(tmp_path / "model"), runs=tmp_path / "runs")
    assert prepared.config["learners"]["MEGa"]["encoding"]["rank"] == 2
    for job in prepared.jobs:
        assert work(job).error == ""
    runs.finish(prepared.folder)
    assert runs.status(prepared.folder) == "finished"
    curves = files.table(prepared.folder, "curves")
    assert {"qa", "logprob", "recall cos", "correct gate", "knowledge"} <= set(curves["metric"])
    before = (prepared.folder / "curves.csv").read_bytes()
    runs.score(prepared.folder)  # from the texts alone, and the same
    assert (prepared.folder / "curves.csv").read_bytes() == before
    # Scored by a further judge it is so alone: one that takes its cells over scores them as its own.
    runs.score(prepared.folder, [Lenient()])
    assert (prepared.folder / "curves.csv").read_bytes() != before
    fewer = dataclasses.replace(chosen, name="fewer")
    again = runs.run(runs.prepare(fewer, str(tmp_path / "model"), runs=tmp_path / "runs"), progress=False)
    assert again != prepared.folder and (again / "curves.csv").read_bytes() == before
    # A worker that finds another model under the name says so.
    make_model(seed=1).save_pretrained(tmp_path / "model")
    cells._loaded.cache_clear()
    moved = runs.prepare(chosen, str(tmp_path / "model"), runs=tmp_path / "others")
    expected = prepared.jobs[0].base
    told = work(dataclasses.replace(moved.jobs[0], base=expected)).error
    assert re.match(f"The fingerprint of .*, and {expected['fingerprint']} where the run was begun", told)
    assert work(moved.jobs[0]).error == ""
