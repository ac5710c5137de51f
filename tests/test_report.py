"""The report of a run: which figures it has, from which rows, under which names; no model is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_figures import closed, legend, lines, names_of, point, results  # noqa: F401

from memsci import experiments
from memsci.errors import MemsciError
from memsci.measures.forgetting import bin_lags
from memsci.runs import report
from memsci.runs.tables import curves


def begin(folder: Path, **named) -> None:
    """The folder of a run, and what run.json says of its experiment."""
    folder.mkdir()
    about = {"experiment": folder.name.rpartition("-")[0], "base": {"name": "a-model"}, **named}
    (folder / "run.json").write_text(json.dumps(about), encoding="utf-8")


def write_run(folder: Path, learnt: pd.DataFrame, **named) -> Path:
    """The folder of a run of learners, as `memsci run` leaves it."""
    key = {"over": "all memories", "dataset": "episodic", "method": "Base", "stop": 10}
    learnt = pd.concat([learnt, pd.DataFrame([point(0.3, **key, metric="random pair cos")])])
    learnt = learnt.fillna(dict.fromkeys(("category", "setting", "way", "gate"), ""))
    begin(folder, **named)
    learnt.to_csv(folder / "curves.csv", index=False)
    spread = [learnt.assign(partition=k, value=learnt["mean"] + 0.01 * (k - 2)) for k in range(5)]
    values = pd.concat(spread).drop(columns=["mean", "sd", "low", "high", "n"])
    values.to_csv(folder / "partitions.csv.gz", index=False)
    return folder


def write_gates(folder: Path) -> Path:
    """The folder of a run of gates, likewise."""
    begin(folder)
    same = {"dataset": "semantic", "partition": 3}
    pairs = [("07", "07", "a"), ("8", "07", "a"), ("07", "07", "b"), ("8", "8", "b")]
    shares = pd.DataFrame(pairs, columns=["memory_id", "top_id", "embedding"])
    shares.assign(**same, share=1.0).to_csv(folder / "confusion.csv", index=False)
    rates = [("a", 0.5, "by embedding"), ("b", 1, "by embedding"), ("b", 0.9, "by count")]
    rates = pd.DataFrame(rates, columns=["embedding", "value", "comparison"])
    rates.assign(**same).to_csv(folder / "partitions.csv.gz", index=False)
    counts = [point(0.9, embedding=e, stop=n, comparison="by count", metric="correct gate") for e in "ab" for n in (2, 4)]
    counts += [point(0.9, embedding=e, stop=2, comparison="by embedding", metric="correct gate") for e in "ab"]
    layers = [
        point(0.9, comparison="by layer", metric="correct gate", layer=layer, site=site, pooling=pooling, similarity=rule)
        for layer in (0, 1)
        for site, pooling, rule in (
            ("mlp", "mean", "inner"), ("attention", "mean", "inner"), ("mlp", "idf", "cosine"), ("both", "idf", "cosine")
        )
    ]  # fmt: skip
    pd.DataFrame(counts + layers).assign(dataset="semantic").to_csv(folder / "curves.csv", index=False)
    return folder


def planned(monkeypatch, run: Path) -> dict[str, tuple]:
    """What would be saved: axes and table by name."""
    made = {}
    monkeypatch.setattr(report, "save", lambda ax, stem, table, **_: made.update({stem.name: (ax, table)}) or [])
    report.draw(run, run)
    return made


def test_lags_are_drawn_in_bins_each_pooled_within_its_partition(monkeypatch, tmp_path):
    """Partition 0 was asked at lags 0 to 11, partition 1 at lag 0 only; numbers of test."""
    key = {"over": "lag", "category": "", "dataset": "episodic", "method": "Full", "setting": "", "way": "direct"}
    key |= {"gate": "own", "stop": None, "metric": "qa"}
    values = pd.DataFrame(
        [{**key, "lag": lag, "partition": 0, "value": lag / 20} for lag in range(12)]
        + [{**key, "lag": 0, "partition": 1, "value": 1.0}]
    )
    binned = bin_lags(values)
    assert list(dict.fromkeys(zip(binned["lag"], binned["until"]))) == [(0, 0), (1, 4), (5, 9), (10, 11)]
    assert binned.drop(columns=["lag", "until"]).equals(values.drop(columns="lag")) and "until" not in values
    assert bin_lags(values, (0, 3))["until"].unique().tolist() == [2, 11]
    with pytest.raises(MemsciError, match="Every row needs a lag of 0 or more"):
        bin_lags(values.assign(lag=[-1, *range(1, 13)]))
    run = write_run(tmp_path / "order-0", curves(values))
    values.to_csv(run / "partitions.csv.gz", index=False)
    ax, table = planned(monkeypatch, run)["order_episodic_lag_qa"]
    np.testing.assert_allclose(table["mean"], [0.5, 0.125, 0.35, 0.525])
    assert table["n"].tolist() == [2, 1, 1, 1]
    assert lines(ax)["Full"].get_xdata().tolist() == [0, 2.5, 7, 10.5]  # the middles of the bins, which the axis names
    assert ax.get_xlabel().endswith("0, 1–4, 5–9, 10–11)")


def test_a_run_of_learners_has_its_figures(monkeypatch, tmp_path):
    told = results().query("method == 'RAG'").assign(method="Full+EWC", way="recall first")
    first = results().query("metric != 'knowledge'")
    learnt = pd.concat([first, results("all memories"), told.assign(over="all memories")])
    gates = results("all memories").query("method == 'MEGa' and metric == 'qa' and way == 'direct'")
    learnt = pd.concat([learnt, *(gates.assign(metric="correct gate", gate=gate) for gate in ("own", "true"))])
    made = planned(monkeypatch, write_run(tmp_path / "main-0123456789ab", learnt))
    assert {name.removeprefix("main_episodic_") for name in made} == {
        "first-memory_qa", "first-memory_recall-cos", "knowledge-curve", "bars_qa", "bars_recall-cos", "bars_knowledge",
        "bars_correct-gate", "ways_qa", "differences_qa", "differences_recall-cos", "differences_knowledge",
    }  # fmt: skip
    ax, table = made["main_episodic_first-memory_recall-cos"]
    assert set(table["metric"]) == {"recall cos", "random pair cos"} and "random pair" in legend(ax)
    assert ax.get_title(loc="left") == "Episodic, recall cosine: the first memory, as more are stored"
    assert set(made["main_episodic_bars_correct-gate"][1]["method"]) == {"MEGa"}  # the true gate is always right
    ax, table = made["main_episodic_bars_qa"]
    assert table["method"].tolist() == ["RAG", "MEGa", "iRAG", "Full+EWC", "Base"] and set(table["stop"]) == {10}
    assert table["paper"].tolist() == [0.8257, 0.7253, 0.8067, 0.141, 0.0013]
    assert names_of(made["main_episodic_ways_qa"][0]) == ["Full+EWC", "iRAG on Full+EWC", "MEGa", "iRAG"]
    order = pd.read_csv(tmp_path / "main-0123456789ab" / "main_order.csv", keep_default_na=False).set_index("metric")
    assert order.loc["qa", ["agree", "disagree", "reversed"]].tolist() == [10, 0, ""]
    tests = pd.read_csv(tmp_path / "main-0123456789ab" / "main_tests.csv")
    assert len(tests.query("metric == 'qa'")) == 10 and set(tests["n"]) == {5}
    ties = tests["paper difference"] == 0  # Base and RAG know alike, MEGa and iRAG recall alike
    assert set(tests.loc[ties, "order"]) == {"a tie in the paper"} and set(tests.loc[~ties, "order"]) == {"open"}
    drawn = made["main_episodic_differences_qa"][1]
    assert len(drawn) == 7 and drawn[["better", "worse"]].isin(["MEGa", "iRAG"]).any(axis=1).all()


def test_settings_are_swept_set_side_by_side_or_grouped(monkeypatch, tmp_path):
    one = results("all memories").query("method == 'MEGa' and way == 'direct' and stop == 10 and metric == 'qa'")
    alone = one.assign(gate="true")
    ranks = pd.concat([alone.assign(setting=f"rank={r}") for r in (1, 2, 4)])
    assert set(planned(monkeypatch, write_run(tmp_path / "rank-0", ranks))) == {"rank_episodic_rank_qa"}
    places = pd.concat([alone.assign(setting=name) for name in ("where=mlp", "layers=late")])
    ((name, (ax, table)),) = planned(monkeypatch, write_run(tmp_path / "where-lora-0", places)).items()
    assert name == "where-lora_episodic_bars_qa" and table["paper"].tolist() == [0.896, 0.5853]
    assert names_of(ax) == ["MLP, every layer", "MLP, late layers"]
    prompts = [alone.assign(setting=f"prompt={name}", category="fact") for name in ("fact-1", "fact-2")]
    prompts.append(alone.assign(over="category", category="fact"))
    ((name, (ax, _)),) = planned(monkeypatch, write_run(tmp_path / "prompts-0", pd.concat(prompts))).items()
    assert name == "prompts_episodic_prompts_qa" and ax.get_xticklabels()[0].get_text() == "fact\n(2)"


def test_a_run_of_gates_has_its_figures(monkeypatch, tmp_path):
    made = planned(monkeypatch, write_gates(tmp_path / "mine-0123456789ab"))
    assert {name.removeprefix("mine_semantic_"): len(table) for name, (_, table) in made.items()} == {
        "count": 4, "partitions": 2, "confusion_a": 2, "confusion_b": 2,
        "layers": 4, "layers_mlp": 4, "layers_attention": 2, "layers_both": 2,
    }  # fmt: skip
    assert legend(made["mine_semantic_layers"][0])[:2] == ["MLP input", "attention input"]
    ax = made["mine_semantic_layers_mlp"][0]
    assert legend(ax)[:2] == ["mean, inner", "IDF, cosine"]
    assert ax.get_title(loc="left") == "Semantic, correct gate: by the layer that is embedded, MLP input"
    rates = made["mine_semantic_partitions"][1]
    assert rates.to_numpy().tolist() == [["a", 3, 0.5], ["b", 3, 1.0]]


def test_a_run_is_drawn_again_without_torch(tmp_path):
    """In another process too, byte for byte."""
    first = results().query("metric == 'recall cos'")
    run = write_run(tmp_path / "l2-0", pd.concat([first, results("all memories").query("metric == 'qa'")]))
    files = report.draw(run, tmp_path / "here")
    program = (
        "import sys; from memsci.runs import report; report.draw(*sys.argv[1:]);"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    again = subprocess.run(
        [sys.executable, "-c", program, run, tmp_path / "there"], capture_output=True, text=True, check=True
    )
    assert again.stdout.strip() == "set()"
    assert {path.name for path in files} == {
        f"l2_episodic_{name}.{ending}"
        for name in ("first-memory_recall-cos", "bars_qa")
        for ending in ("png", "pdf", "csv", "txt")
    }
    assert all(path.read_bytes() == (tmp_path / "there" / path.name).read_bytes() for path in files)
    drawn = pd.read_csv(tmp_path / "here" / "l2_episodic_bars_qa.csv", keep_default_na=False)
    np.testing.assert_allclose(drawn["mean"], [0.945, 0.81, 0.83, 0.27, 0.18])


def test_an_experiment_names_its_figures(monkeypatch, tmp_path):
    """What run.json says comes first, then the experiment of the package, then all that the tables have rows for."""
    learnt = pd.concat([results(), results("all memories")])
    own = write_run(tmp_path / "main-0", learnt, figures=["knowledge_curve"], paper_table=None)
    assert set(planned(monkeypatch, own)) == {"main_episodic_knowledge-curve"} and not [*own.glob("*_paper.csv")]
    own = write_run(tmp_path / "mine-0", learnt, figures=[], paper_table=1)
    made = {name.removeprefix("mine_episodic_") for name in planned(monkeypatch, own)}
    assert {"first-memory_qa", "knowledge-curve", "bars_qa", "differences_qa"} <= made
    assert (own / "mine_tests.csv").is_file()


def test_every_figure_that_an_experiment_may_name_can_be_drawn():
    assert list(report.FIGURES) == [*experiments.FIGURES, *experiments.GATE_FIGURES]
    for name in experiments.names():
        assert experiments.load(name).figures or name in experiments.PHENOMENA, name  # which draw themselves


def test_a_method_that_the_papers_table_lacks_has_its_figures(monkeypatch, tmp_path):
    alone = results("all memories").query("method == 'MEGa' and way == 'direct'").assign(method="Mine")
    run = write_run(tmp_path / "main-0", alone)
    assert "main_episodic_bars_qa" in planned(monkeypatch, run) and not [*run.glob("*_paper.csv")]


def test_one_method_of_the_papers_table_stands_beside_it_without_an_order(monkeypatch, tmp_path):
    alone = results("all memories").query("method == 'MEGa' and way == 'direct'")
    run = write_run(tmp_path / "main-0", alone)
    assert "main_episodic_bars_qa" in planned(monkeypatch, run)
    assert [file.name for file in run.glob("*.csv") if "main_" in file.name] == ["main_paper.csv"]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(MemsciError, match="has no curves.csv"):
        report.draw(tmp_path)


def test_figures_are_not_drawn_into_a_file(tmp_path):
    run = write_run(tmp_path / "mine-0", results("all memories"))
    (file := tmp_path / "file").write_text("kept")
    for out in (file, file / "below"):
        with pytest.raises(MemsciError, match="file is a file"):
            report.draw(run, out)
    assert file.read_text() == "kept"


def test_only_the_figures_that_were_named_are_drawn(tmp_path):
    run = Path(__file__).parents[1] / "figures" / "runs" / "l2"
    if not run.is_dir():
        pytest.skip("the figures are not in a source distribution")
    drawn = {file.name for file in report.draw(run, tmp_path, names=["bars_qa"]) if file.suffix == ".png"}
    assert drawn == {
        f"l2_{dataset}_bars_qa.png" for dataset in json.loads((run / "run.json").read_text(encoding="utf-8"))["datasets"]
    }


def test_of_too_many_settings_bars_show_the_first_and_the_best(tmp_path):
    at = {"over": "all memories", "stop": 10, "way": "direct", "gate": "own", "metric": "qa"}
    at |= {"dataset": "episodic", "category": ""}
    rows = [point(0.5 + k / 100, **at, method="MEGa", setting=f"k={k}") for k in range(1, 22)]
    rows += [point(0.5 - k / 100, **at, method="RAG", setting=f"k={k}") for k in range(1, 4)]
    for name, some in {"few-1": rows, "many-1": [*rows, point(0.1, **at, method="Full", setting="")]}.items():
        report.draw(write_run(tmp_path / name, pd.DataFrame(some), figures=("method_bars",)), tmp_path, names={"bars_qa"})
    shown = pd.read_csv(tmp_path / "many_episodic_bars_qa.csv")
    assert sorted(shown["setting"][shown["method"] == "MEGa"]) == ["k=1", "k=21"] and len(shown) == 6
    told = (tmp_path / "many_episodic_bars_qa.txt").read_text()
    assert "(up to 21) the first and, chosen on these data, the best" in told and told.endswith(" Base model: a-model.\n")
    assert len(pd.read_csv(tmp_path / "few_episodic_bars_qa.csv")) == 24
