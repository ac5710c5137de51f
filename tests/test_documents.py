"""What is written for people holds: tables are those of the files, links lead somewhere, commands and names are there."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import typer

from memsci.cli import main as cli
from memsci.evaluate import gate_accuracy as gating
from memsci.experiments import show_numbers
from memsci.measures.methods import WAYS
from memsci.measures.statistics import paired
from memsci.pretraining import report
from memsci.runs import folder as files
from memsci.world import grammar

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / "figures"
CARDS = [ROOT / "memsci" / "assets" / name / "README.md" for name in ("base", "base-2")]

if not (ROOT / "docs").is_dir():
    pytest.skip("documents and figures are not in a source distribution", allow_module_level=True)

RESULTS, LIMITS = ROOT / "docs" / "results.md", ROOT / "docs" / "limits.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *CARDS, *DOCS]
each = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

IN_TURN = ("Full", "Full+L2", "Full+EWC", "LoRA", "LoRA+L2")  # write one memory after another into the same weights
COUNTED = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED, SPOKEN = re.compile(r"^memsci .*", re.MULTILINE), re.compile(r"`(memsci [^`\n]+)`")  # commands
NAMED = re.compile(r"`memsci((?:\.[A-Za-z]\w*)+)`")


# Numbers


def test_the_page_of_performance_is_that_of_the_results():
    from benchmarks import page

    assert (ROOT / "docs" / "performance.md").read_text(encoding="utf-8") == page.page(), "python -m benchmarks.page"


def test_the_tables_of_results_are_those_of_the_runs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    tables = import_module("docs.tables")
    text = RESULTS.read_text(encoding="utf-8")
    assert tables.page(text) == text, "python -m docs.tables"
    told = {word for block in tables.BLOCK.finditer(text) for word in block[2].split()}
    published = {run.name for run in (FIGURES / "runs").iterdir()}
    assert published - told == set(), "give each published run its section, with <!-- table KIND RUN DATASET -->"
    assert text.count("\n| ---") == len(tables.BLOCK.findall(text)), "a table that is typed"


def test_the_index_of_notes_names_each_note():
    index = (ROOT / "docs" / "lab-notes.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs" / "notes").glob("*.md"):
        for heading in re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert f"- [{heading}](notes/{page.name}#" in index, f"give it a line in docs/lab-notes.md: {heading}"


def test_the_demo_compares_the_embeddings_that_there_are():
    assert pd.read_csv(FIGURES / "demo_world_gates.csv")["embedding"].tolist() == list(gating.EMBEDDINGS)


def curves_at_the_end(run: Path, metric: str) -> dict[str, dict[str, float]]:
    """Means over partitions at the last stop, by dataset and method."""
    compared = pd.read_csv(run / "main_paper.csv")
    rows = compared[compared["metric"] == metric]
    return {dataset: dict(zip(part["method"], part["mean"])) for dataset, part in rows.groupby("dataset")}


def test_what_is_said_beside_those_tables_is_so():
    """Partitions, pairs of methods in the paper's order, paired differences, and how far general knowledge moves."""
    told, run = " ".join(RESULTS.read_text(encoding="utf-8").split()), FIGURES / "runs" / "main"
    held: dict[str, list[int]] = {}
    for name in files.read_json(run / "config.json")["data"]:
        held.setdefault(name.partition(" ")[0], []).append(int(name.rpartition(" ")[2]))
    for name, numbers in held.items():
        assert f"{name} partitions {show_numbers(numbers)}" in told.replace(" to ", "-")
    order = pd.read_csv(run / "main_order.csv").set_index(["metric", "dataset"])
    pairs = order["methods"] * (order["methods"] - 1) // 2
    kinds = [f"{order.loc[name, 'agree'].iloc[0]} and {order.loc[name, 'agree'].iloc[1]} of {pairs[name].iloc[0]}"
             for name in ("qa", "recall cos", "logprob", "knowledge")]  # fmt: skip
    assert f"in {kinds[0]} pairs of methods" in told and ", ".join(kinds[1:]) in told

    tests = pd.read_csv(run / "main_tests.csv")
    turned = {"better": tests["worse"], "worse": tests["better"], "difference": -tests["difference"]}
    turned |= {"low": -tests["high"], "high": -tests["low"], "wins": tests["losses"]}
    both = pd.concat([tests, tests.assign(**turned)]).set_index(["metric", "better", "worse"]).sort_index()
    above = {name: both.loc[[("qa", name, other) for other in IN_TURN]] for name in ("MEGa", "iRAG")}
    assert all((rows["wins"] == rows["n"]).all() and len(rows) == 10 for rows in above.values())
    least = {name: int(100 * rows["low"].min()) for name, rows in above.items()}
    assert f"In every partition MEGa answers more than each of them, on average by {least['MEGa']} points at least" in told
    assert f", and iRAG by {least['iRAG']} (the lowest ends of the 95 % intervals" in told
    values = files.table(run, "partitions")
    values = values[(values["over"] == "all memories") & (values["stop"] == 50) & (values["metric"] == "qa")]
    values = values[values["gate"] == "own"].drop(columns="gate")
    recalled = values[values["way"] == "recall first"]
    alike = pd.concat([paired(recalled, "MEGa", other, by="dataset") for other in IN_TURN])
    assert (alike["wins"] == alike["n"]).all()
    assert f"Where they may recall first, too, iRAG is above each of them by {int(100 * alike['low'].min())}" in told
    counted = tests[tests["metric"] == "qa"].groupby("dataset")["order"].value_counts().unstack(fill_value=0)
    counted = counted.reindex(index=[*grammar.SETTINGS], columns=["the paper's", "the other", "open"], fill_value=0)
    said = "show the paper's order in {} and {}, the other in {} and {}, and leave {} and {} open"
    assert said.format(*counted.T.to_numpy().ravel()) in told
    other = tests[(tests["metric"] == "qa") & (tests["order"] == "the other")]
    merged = other[["better", "worse"]].isin(["LoRA", "LoRA+L2"]).any(axis=1)
    held = ~(other[["better", "worse"]] == "LoRA").any(axis=1)
    assert merged.all()
    counts = COUNTED[len(other)], COUNTED[held.sum()]
    assert "the {} in the other order are all about the merged LoRA, {} of them about that with L2".format(*counts) in told
    mega = values[values["method"] == "MEGa"]
    seen = mega["partition"].isin(range(16, 20)) | ((mega["partition"] == 10) & (mega["dataset"] == "episodic"))
    means = [rows.groupby(["way", "dataset"])["value"].mean() * 100 for rows in (mega[~seen], mega)]
    shown = [" and ".join(f"{part[way, kind]:.1f}" for kind in grammar.SETTINGS) for way in WAYS for part in means]
    said = "Without those MEGa answers {} % (episodic and semantic) instead of {}, and after its recall {} instead of {}."
    assert said.format(*shown) in told
    nats = curves_at_the_end(run, "logprob")
    assert all(max(nats[kind], key=nats[kind].get) == "iRAG" and nats[kind]["Full"] < nats[kind]["Base"] for kind in nats)
    floor = curves_at_the_end(run, "recall cos")
    assert all(floor[kind][name] < floor[kind]["Base"] for kind in grammar.SETTINGS for name in IN_TURN)

    curves = pd.read_csv(run / "curves.csv")
    known = curves[(curves["over"] == "all memories") & (curves["metric"] == "knowledge")]
    low, high = (known.groupby("method")["mean"].agg(of).mul(100).round().astype(int) for of in ("min", "max"))
    assert f"at every stop ({low['MEGa']} to {high['MEGa']} %, base {low['Base']};" in told
    for better, worse, said, sign in (
        ("MEGa", "Base", "at the end MEGa is {} and {} points from the base", "+"),
        ("Base", "LoRA", "the merged LoRA loses {} and {}", ""),
        ("Base", "Full", "Full {} and {}", ""),
    ):
        apart = both.loc[[("knowledge", better, worse)]].set_index("dataset").loc[[*grammar.SETTINGS]]
        shown = (100 * apart[["difference", "low", "high"]]).round(1) + 0.0  # which turns -0.0
        told_so = [f"{d:{sign}.1f} ({a:{sign}.1f} to {b:{sign}.1f})" for d, a, b in shown.to_numpy().tolist()]
        assert said.format(*told_so) in told, said


def test_what_is_said_of_gates_is_so():
    told = " ".join(RESULTS.read_text(encoding="utf-8").split() + LIMITS.read_text(encoding="utf-8").split())
    curves = pd.read_csv(FIGURES / "runs" / "embedding-models" / "curves.csv")
    rates = (100 * curves.set_index(["comparison", "embedding", "stop", "dataset"])["mean"]).round(1)
    own, hybrid = (
        [[rates[how, name, n, kind] for kind in grammar.SETTINGS] for how, n in (("by embedding", 50), ("by count", 1000))]
        for name in ("own (the paper's)", "MiniLM-L6 + TF-IDF")
    )
    assert "in {} and {} % of cases (episodic and semantic)".format(*own[0]) in told
    wiki = pd.read_csv(FIGURES / "runs" / "embedding-models-wiki" / "curves.csv")
    wiki = wiki[(wiki["comparison"] == "by embedding") & (wiki["embedding"] == "own (the paper's)")].iloc[0]
    mean, low, high = (100 * wiki[name] for name in ("mean", "low", "high"))
    assert f"{mean:.1f} % of cases among 50 (95 % interval over ten partitions {low:.1f} to {high:.1f})" in told
    among = (*hybrid[0], *own[1], *hybrid[1])
    assert "together in {} and {}; of 1,000 memories in {} and {}, and in {} and {}.".format(*among) in told


def test_the_card_says_what_its_template_says():
    fixed = [part.strip() for part in re.split(r"\{[^}]*\}", report.CARD)]
    card = CARDS[-1].read_text(encoding="utf-8")  # that of the older model was written by an older one
    assert [part for part in fixed if part not in card] == []


def test_what_is_said_of_the_next_base_is_what_its_report_says():
    found = pd.read_csv(CARDS[-1].parent / "report.csv").set_index("ability")["value"]
    found.index = found.index.str.strip()
    card = CARDS[-1].read_text(encoding="utf-8")
    assert [name for name, value in found.items() if f"| {name} | {value:.1f} " not in card] == []
    two = "answers two questions in one from both texts, both parts right"
    assert f"answers {found[two]:.0f} % of such questions with both texts before it" in LIMITS.read_text(encoding="utf-8")
    note = (ROOT / "docs" / "notes" / "base.md").read_text(encoding="utf-8")
    table = note[note.index("| memsci/base-2 | wanted |") :].partition("\n\n")[0]
    for name in (two, "reads", "reads stories of held-out kinds of event", "tokens without training",
                 "knows: quiz in unseen phrasings, macro over four subjects"):  # fmt: skip
        assert f"{found[name]:.1f}" in table or f"| {found[name]:.0f} |" in table, name


def test_what_is_said_of_the_public_model_is_what_it_found():
    """The table of the README, and the prose of the results."""
    rows = pd.read_csv(FIGURES / "runs" / "main-wiki-smollm2" / "partitions.csv.gz").query("gate != 'true'")
    percent = lambda values: f"{100 * values.item():.1f}"
    qa = lambda method, way="direct": percent(rows.query("method == @method and way == @way and metric == 'qa'")["value"])
    knows = lambda method: percent(rows.query("method == @method and metric == 'knowledge'")["value"])
    page, results = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/results.md"))
    for method, of_paper in {"Base": "8.2", "RAG": "88.8", "MEGa": "78.0", "LoRA": "0.5"}.items():
        assert f"| {qa(method)} | {of_paper} | {knows(method)} |" in page
    again = qa("MEGa", "recall first")
    assert (
        f"| {again} | 84.7 | |" in page and f"(RAG, {qa('RAG')} %)" in results and f"is left with {qa('LoRA')} %" in results
    )
    assert f"from the weights ({qa('MEGa')} %), and five sixths after its recall ({again} %)" in results
    assert 0.74 < float(qa("MEGa")) / float(qa("RAG")) < 0.76 and 0.82 < float(again) / float(qa("RAG")) < 0.84
    assert f"falls to {knows('LoRA')} % from {knows('Base')} there" in results and knows("MEGa") == knows("Base")


def test_what_is_said_of_runs_on_the_next_base_is_what_they_found():
    """MEGa directly and after its recall, beside the same list on the shipped base; and questions that need two memories."""
    said = {}
    for run in ("main-base-2", "main"):
        rows = pd.read_csv(FIGURES / "runs" / run / "partitions.csv.gz")
        rows = rows.query(
            "dataset == 'episodic' and partition == 0 and over == 'all memories' and method == 'MEGa' and stop == 50"
        )
        quiz = rows[rows["metric"] == "knowledge"]["value"].item()
        qa = rows.query("metric == 'qa' and gate == 'own'").set_index("way")["value"]
        said[run] = [f"{100 * value:.1f}" for value in (qa["direct"], qa["recall first"])], 100 * quiz
    (ours, quiz), (theirs, theirs_quiz) = said.values()
    results, changes = RESULTS.read_text(encoding="utf-8"), (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    note = (ROOT / "docs" / "notes" / "base.md").read_text(encoding="utf-8")
    assert f"answers {theirs[0]} %, after a recall {theirs[1]}." in results
    assert f"MEGa {ours[0]} %, {ours[1]} % after a recall; {theirs[0]} and {theirs[1]} %" in changes
    assert f"MEGa {ours[0]} % directly ({theirs[0]}), {ours[1]} after its recall ({theirs[1]})" in note
    assert f"MEGa {quiz:.0f} ({theirs_quiz:.0f})" in note

    two = pd.read_csv(FIGURES / "runs" / "compositional-base-2" / "curves.csv").query("metric == 'all parts'")
    found = two.set_index(["method", "setting", "way", "gate"])["mean"]
    assert found["MEGa", "beta=0.1", "direct", "own"] == 0  # "under the paper's β of 0.1 nothing is answered"
    assert round(10 * found["MEGa", "beta=0.1", "direct", "true"]) == 4  # "four in ten directly"
    assert round(10 * found["MEGa", "k=2", "recall first", "true"]) == 8  # "eight in ten after each is recalled"
    parts = two[two["way"].str.endswith("in parts") & (two["gate"] == "own")]["mean"].max()
    assert parts > two[~two["way"].str.endswith("in parts")]["mean"].max()  # "each part by itself" finds them best


def test_a_control_without_a_source_changed_no_loss_of_mega_or_rag():
    rows = pd.read_csv(FIGURES / "runs" / "misinformation" / "misinformation.csv").set_index(
        ["method", "condition", "measure"]
    )
    for method in ("MEGa", "RAG"):
        for test in ("standard", "modified"):
            same = [rows["mean"][method, f"control{source}", test] for source in ("", ", no source")]
            assert same[0] == same[1]


# Links and commands


@each
def test_links_within_the_repository_lead_somewhere(page):
    links = LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    paths = [link.partition("#")[0] for link in links if "://" not in link and not link.startswith(("#", "mailto:"))]
    assert [path for path in paths if not (page.parent / path).exists()] == []


def refusal(line: str) -> str | None:
    """What the program does not know of a line, if anything: its command, or an option of it."""
    name, *words = shlex.split(line, comments=True)[1:]
    commands = typer.main.get_command(cli.app).commands
    if name not in commands:
        return f"{line}: there is no command {name}"
    known = {option for one in commands[name].params for option in (*one.opts, *one.secondary_opts)}
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in known]
    return f"{line}: {name} has no {unknown[0]}" if unknown else None


def test_a_command_that_is_none_would_be_seen():
    assert refusal("memsci remember this") == "memsci remember this: there is no command remember"
    assert refusal("memsci run main --partition 0-1").endswith("run has no --partition")
    assert refusal("memsci run main --partitions 0-1 --plan  # what it will do") is None


@each
def test_commands_are_those_of_the_program(page):
    text = page.read_text(encoding="utf-8")
    fenced = "".join(FENCE.findall(text)).replace("\\\n", " ")
    lines = [*FENCED.findall(fenced), *SPOKEN.findall(FENCE.sub("", text))]
    assert [told for line in lines if (told := refusal(line))] == []


@pytest.mark.parametrize("page", [page for page in DOCS if page.parent.name != "notes"], ids=lambda page: page.stem)
def test_names_are_those_of_the_package(page):
    for name in set(NAMED.findall(page.read_text(encoding="utf-8"))):
        found, rest = import_module("memsci"), name[1:].split(".")
        while rest:
            try:
                found = (
                    import_module(f"{found.__name__}.{rest[0]}") if hasattr(found, "__path__") else getattr(found, rest[0])
                )
            except ModuleNotFoundError:
                found = getattr(found, rest[0])
            rest = rest[1:]


def test_the_front_page_is_one_page_and_tells_what_was_found():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    qa = curves_at_the_end(FIGURES / "runs" / "main", "qa")
    mega, first = (f"{100 * qa['episodic'][name]:.0f}" for name in ("MEGa", "iRAG"))
    others = [100 * qa[kind][name] for kind in grammar.SETTINGS for name in IN_TURN]
    said = f"With MEGa {mega} % are answered from the weights, and {first} % if the model recalls"
    assert said in " ".join(text.split()) and f"are left with {min(others):.0f} to {max(others):.0f} %" in text
