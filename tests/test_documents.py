"""What is written for people holds: tables are those of the files, links lead somewhere, commands are the program's.

Tables are found by what stands in their headers, and a number agrees if it is the file's to the digits that are printed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
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
CARD = ROOT / "memsci" / "assets" / "base" / "README.md"

if not (ROOT / "docs").is_dir():
    pytest.skip("documents and figures are not in a source distribution", allow_module_level=True)

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", CARD, *sorted((ROOT / "docs").glob("*.md"))]
each = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

# What the columns of the README's tables are called in the files, and by what a share is printed larger.
METRICS = {"QA %": ("qa", 100), "log prob": ("logprob", 1), "recall cos": ("recall cos", 1)}
IN_TURN = ("Full", "Full+L2", "Full+EWC", "LoRA", "LoRA+L2")  # write one memory after another into the same weights
METRICS |= {"general knowledge %": ("knowledge", 100), "correct gate %": ("correct gate", 100)}
COUNTED = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED, SPOKEN = re.compile(r"^memsci .*", re.MULTILINE), re.compile(r"`(memsci [^`\n]+)`")  # commands


def tables(page: Path) -> Iterator[pd.DataFrame]:
    """The tables of a page, cells as they are written; columns that have no name of their own keep their place's number."""
    for block in re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE):
        header, _, *rows = ([cell.strip() for cell in line.strip()[1:-1].split("|")] for line in block.splitlines())
        yield pd.DataFrame([[*row, *[""] * (len(header) - len(row))] for row in rows], columns=header)


def table(*names: str) -> pd.DataFrame:
    """The one table of the README that has all these columns and begins with the first of them."""
    found = [one for one in tables(ROOT / "README.md") if one.columns[0] == names[0] and {*names} <= {*one.columns}]
    assert len(found) == 1, f"{len(found)} tables of README.md have the columns {names}"
    return found[0]


def agrees(written: str, value: float) -> bool:
    """Whether a cell says this number, to its own digits; a dash says that there is none. What follows it is not read."""
    found = re.match(r"[-−]?\d+(\.(\d+))?", written)
    if found is None or pd.isna(value):
        return found is None and pd.isna(value) and written == "–"
    return abs(float(found[0].replace("−", "-")) - value) <= 0.5001 * 10.0 ** -len(found[2] or "")


def disagreeing(shown: pd.DataFrame, taken: pd.DataFrame) -> list[tuple]:
    """Row, column, what is written and what is true, of all cells that do not agree."""
    assert list(shown.index) == list(taken.index) and list(shown.columns) == list(taken.columns)
    cells = [(row, column, shown.loc[row, column], taken.loc[row, column]) for row in shown.index for column in shown]
    return [cell for cell in cells if not agrees(*cell[2:])]


@pytest.mark.parametrize(
    ("written", "value", "holds"),
    [
        ("98.7", 98.6667, True), ("98.6", 98.6667, False), ("99", 98.6667, True), ("-8.12", -8.12195, True),
        ("−8.12", -8.12195, True), ("8.12", -8.12195, False), ("81.3 ± 2.0", 81.3333, True), ("–", float("nan"), True),
        ("–", 0.0, False), ("0.0", float("nan"), False),
    ],
)  # fmt: skip
def test_a_number_agrees_to_its_own_digits(written, value, holds):
    assert agrees(written, value) is holds


# Numbers


def test_the_page_of_performance_is_that_of_the_results():
    from benchmarks import page

    assert (ROOT / "docs" / "performance.md").read_text(encoding="utf-8") == page.page(), "python -m benchmarks.page"


def test_the_demos_table_is_that_of_its_file():
    shown = table("method", "QA %", "log prob", "recall cos", "correct gate %").set_index("method")
    made = pd.read_csv(FIGURES / "demo_world_summary.csv").set_index("method")
    assert disagreeing(shown, made.rename(columns={"knowledge %": "general knowledge %"})[shown.columns]) == []


def test_the_demos_gates_are_those_of_its_file():
    shown = table("embedding", "correct gate %").set_index("embedding")
    made = pd.read_csv(FIGURES / "demo_world_gates.csv").set_index("embedding")[shown.columns]
    short = lambda name: "the paper's" if "the paper's" in name else name  # which the README describes
    assert disagreeing(shown.rename(short), made.rename(short)) == []


def test_the_demo_compares_the_embeddings_that_there_are():
    assert pd.read_csv(FIGURES / "demo_world_gates.csv")["embedding"].tolist() == list(gating.EMBEDDINGS)


def taken(dataset: str, method: str, column: str, before: str) -> float:
    """What the files of the shipped run say of a method, for a column of the README and the one before it."""
    ours = pd.read_csv(FIGURES / "runs" / "main" / "main_paper.csv")
    told = "paper" if column.startswith("paper") else "mean"
    name, factor = METRICS[before if column == "paper" else column.rpartition(", ")[2]]
    if column.startswith("recall first"):
        ours = pd.read_csv(FIGURES / "runs" / "main" / "curves.csv", keep_default_na=False)
        ours = ours[(ours["over"] == "all memories") & (ours["way"] == "recall first") & (ours["gate"] == "own")]
        ours = ours[(ours["stop"] == ours["stop"].max()) & (method != "RAG")]  # RAG has nothing to recall from
    rows = ours[(ours["dataset"] == dataset) & (ours["metric"] == name) & (ours["method"] == method)]
    assert len(rows) <= 1
    return factor * float(rows[told].iloc[0]) if len(rows) else float("nan")


@pytest.mark.parametrize("names", [("", "QA %", "paper"), *((kind, "QA %", "paper, QA %") for kind in grammar.SETTINGS)])
def test_tables_beside_the_paper_are_those_of_the_shipped_run(names):
    shown, dataset = table(*names), names[0] or "episodic"
    columns = list(shown.columns)
    wrong = [
        (row[0], column, cell, value)
        for row in shown.itertuples(index=False, name=None)
        for before, column, cell in zip(columns, columns[1:], row[1:])
        if not agrees(cell, value := taken(dataset, row[0], column, before))
    ]
    assert wrong == [] and len(shown)


def curves_at_the_end(run: Path, metric: str) -> dict[str, dict[str, float]]:
    """Means over partitions at the last stop, by dataset and method."""
    compared = pd.read_csv(run / "main_paper.csv")
    rows = compared[compared["metric"] == metric]
    return {dataset: dict(zip(part["method"], part["mean"])) for dataset, part in rows.groupby("dataset")}


def test_what_is_said_beside_those_tables_is_so():
    """Partitions, pairs of methods in the paper's order, paired differences, and how far general knowledge moves."""
    told, run = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split()), FIGURES / "runs" / "main"
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
    assert f"at every stop near it ({low['MEGa']} to {high['MEGa']} %, base {low['Base']})" in told
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
    told = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
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
    card = CARD.read_text(encoding="utf-8")
    assert [part for part in fixed if part not in card] == []


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
    lines = [*FENCED.findall("".join(FENCE.findall(text))), *SPOKEN.findall(FENCE.sub("", text))]
    assert [told for line in lines if (told := refusal(line))] == []
