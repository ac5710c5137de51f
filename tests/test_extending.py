"""The files of docs/extending.md, as they stand there."""

from __future__ import annotations

import importlib
import re
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from conftest import make_model, make_tokenizer

from memsci import evaluate, experiments, learners, runs
from memsci.errors import MemsciError
from memsci.learners import LEARNERS
from memsci.measures import methods, plugins
from memsci.measures.metrics import METRICS
from memsci.memory import Memory, to_frame
from memsci.models.base import Base
from memsci.runs import folder, plan, worker

TEXT = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ file=(\S+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL))
MEMORIES = [
    Memory("Nora hid the letter in the piano.", id="m", questions=[("Where is the letter?", "In the piano")]),
    Memory("Omar found a red kite.", id="c", questions=[("What did Omar find?", "A kite")]),
]


@pytest.fixture(autouse=True)
def written(tmp_path, monkeypatch):
    """The files in a folder that Python imports from; what they enter is forgotten afterwards."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for registry in (methods._METHODS, LEARNERS, METRICS):
        for name in registry:
            monkeypatch.setitem(registry, name, registry[name])
    known = [(registry, set(registry)) for registry in (methods._METHODS, LEARNERS, METRICS)]
    yield tmp_path
    for registry, names in known:
        for name in set(registry) - names:
            del registry[name]
    for name in ("newest", "brief"):
        sys.modules.pop(name, None)


@pytest.fixture
def tiny() -> Base:
    return Base(make_model(), make_tokenizer(), name="tiny")


def test_the_page_has_one_file_of_each_kind():
    assert list(FILES) == ["newest.py", "brief.py", "similarity.toml"]


def test_a_learner_and_a_measure(tiny):
    importlib.import_module("newest")
    importlib.import_module("brief")
    assert methods.names()[-1] == "Newest" and learners.settings("Newest") == ["newest"]
    learner = learners.make("Newest", tiny, newest=1)
    learner.learn(MEMORIES, progress=False)
    asked = evaluate.ask(learner, MEMORIES)
    assert asked["way"].tolist() == ["direct"] * 2 and asked["recalled"].isna().all()
    scores = evaluate.score(asked.assign(method=learner.name), embed=lambda texts: np.eye(len(texts), 9))
    words = [len(answer.split()) for answer in asked["answer"]]
    assert scores.loc[scores["metric"] == "brief", "value"].tolist() == [count <= 10 for count in words]
    assert evaluate.summary(scores)["brief %"].tolist() == [100 * np.mean([count <= 10 for count in words])]
    assert evaluate.summary(scores)["method"].tolist() == ["Newest"]
    with pytest.raises(MemsciError, match="Newest recalls nothing"):
        learner.answer("Where?", via_recall=True)
    with pytest.raises(MemsciError, match="another method called 'RAG'"):
        methods.add(methods.Method(name="RAG"))


def test_an_installed_package_is_found_by_its_entry_points(tiny, monkeypatch):
    named = [metadata.EntryPoint(name="mine", value=name, group="memsci") for name in ("newest", "brief")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: named)
    monkeypatch.setattr(plugins, "_begun", False)
    assert methods.get("Newest").recalls is False and "brief" in METRICS
    assert learners.make("Newest", tiny).name == "Newest"
    named.append(metadata.EntryPoint(name="theirs", value="not_there", group="memsci"))
    monkeypatch.setattr(plugins, "_begun", False)
    with pytest.raises(MemsciError, match="not_there, the entry point 'theirs' .* cannot be loaded"):
        plugins.load()


def test_a_learner_of_ones_own_stands_in_plans_and_experiments(written, tiny, monkeypatch):
    importlib.import_module("newest")
    monkeypatch.setattr("memsci.evaluate.scores.embedder", lambda *_: lambda texts: [[1.0, len(text)] for text in texts])
    tiny.model.save_pretrained(written / "model")
    tiny.tokenizer.save_pretrained(written / "model")
    to_frame(MEMORIES).to_json(written / "memories.jsonl", orient="records", lines=True)
    own = {"methods": ("Base", "Newest"), "settings": {"Newest": ("newest=1",)}, "measure": "continual"}
    data = {"datasets": (str(written / "memories.jsonl"),), "partitions": (0,)}
    experiment = experiments.Experiment(name="mine", title="Mine", **own, **data)
    planned = plan.plan(experiment, str(written / "model")).calls.set_index("method")
    prepared = runs.prepare(experiment, str(written / "model"), runs=written / "runs")
    assert [worker.work(job).error for job in prepared.jobs] == ["", ""]
    runs.finish(prepared.folder)
    responses = folder.table(prepared.folder, "responses")
    assert (responses["method"] == "Newest").sum() == planned.loc["Newest", "scored"] == 2
    assert set(folder.table(prepared.folder, "curves")["method"]) == {"Base", "Newest"}


def test_an_experiment(written, tiny):
    tiny.model.save_pretrained(written / "model")
    tiny.tokenizer.save_pretrained(written / "model")
    experiment = experiments.load(written / "similarity.toml")
    prepared = runs.prepare(experiment, str(written / "model"), runs=written / "runs")
    runs.run(prepared, processes=1, threads=1, progress=False)
    curves = folder.table(prepared.folder, "curves")
    assert set(curves["similarity"]) == {"inner", "cosine"} and set(curves["layer"]) == {0, 1}
    assert curves["mean"].between(0, 1).all()
