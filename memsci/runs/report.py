"""The figures of a run, drawn from its tables, and its results beside the paper's. No torch here.

An experiment names its figures, and the table of the paper that it repeats (`memsci.experiments.Experiment`). Here stands
for each of them, under its name, which rows of the tables of a run it shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes

from memsci import experiments
from memsci.errors import MemsciError, check_in
from memsci.figures import gates, methods
from memsci.figures.caption import WITHIN, caption
from memsci.figures.draw import displaced
from memsci.figures.series import WAYLESS, chosen, swept
from memsci.figures.style import SIZES, save
from memsci.files import make_folder
from memsci.measures import paper
from memsci.measures.forgetting import bin_lags
from memsci.measures.methods import labels
from memsci.measures.metrics import METRICS
from memsci.measures.statistics import EXACT_UNITS, FLIPS, mean_table
from memsci.runs import folder as files

if TYPE_CHECKING:
    from memsci.phenomena import Phenomenon

_METRICS = [name for name in METRICS if name not in ("random pair cos", "logprob per token")]  # those drawn
MOST_BARS, FEW = 24, 3  # more bars cannot be read; then a method has no more settings than these


@dataclass(frozen=True)
class Drawing:
    """A figure to be drawn: the parts of its file's name, its metric, what the title says, its rows, its function, and what
    its caption adds."""

    name: tuple[str, ...]
    metric: str
    title: str
    table: pd.DataFrame
    draw: Callable[..., Axes]
    note: str = ""


@dataclass(frozen=True)
class Results:
    """The tables of a run, as far as they are of one data set, and the tests against the paper's table, if there is one."""

    folder: Path
    dataset: str
    curves: pd.DataFrame
    paper_table: int | None = None
    tests: pd.DataFrame | None = None

    def table(self, name: str) -> pd.DataFrame:
        """The rows of another table of the run."""
        found = files.table(self.folder, name)
        return found[found["dataset"] == self.dataset]

    def by_metric(self, over: str) -> Iterator[tuple[str, pd.DataFrame]]:
        """The metrics that are drawn, with their rows."""
        rows = self.curves[(self.curves["over"] == over) & self.curves["metric"].isin(_METRICS)]
        return iter(rows.groupby("metric", sort=False))

    @property
    def last(self) -> pd.DataFrame:
        return _last(self.curves)

    @property
    def swept(self) -> str | None:
        """The setting that takes three or more numbers, if there is one."""
        return next(iter(swept(self.last["setting"].unique())), None)


def draw(
    run: str | Path, out: str | Path = "figures", size: str = "print", names: Collection[str] | None = None
) -> list[Path]:
    """Draw the figures of a run from its tables, and set its results beside the paper's.

    Parameters
    ----------
    run
        Folder of a run, or one that `memsci.runs.publish` has filled. The figures are those that its experiment names; if it
        names none, all for which its tables have rows.
    out
        Folder for the figures: ``main_episodic_first-memory_qa.pdf``, .png and .csv (the rows that are drawn). For results
        that stand in a table of the paper also ``main_paper.csv``, ``main_order.csv`` and ``main_tests.csv`` (`compare`,
        `ordering` and `tested` of `memsci.measures.paper`). The same tables give the same bytes.
    size
        "print" or "slide"; "column" (90 mm) or "page" (190 mm) for a journal: no title inside, 300 dots per inch. Each has
        its caption beside it (.txt), which names the base model.
    names
        Only the figures of these names: what stands in those of their files after the data set, such as "first-memory_qa".
    """
    folder = Path(run)
    check_in("size", size, SIZES)
    if (curves := files.table(folder, "curves")) is None:
        raise MemsciError(f"{folder} has no curves.csv. Give the folder of a run that 'memsci run' made and finished.")
    experiment, named, number = _experiment(folder)
    model = f"Base model: {files.read_json(folder / 'run.json')['base']['name']}."
    out, drawn = make_folder(out), []
    if "over" in curves and (curves["over"] == "list").all():
        return _phenomena(folder, out, experiment, size, model)
    if "gate" in curves:
        curves = curves[(curves["metric"] != "correct gate") | (curves["gate"] != "true")]
    comparison = _beside_paper(curves, folder, number)
    for name, table in comparison.items():
        drawn.append(out / f"{_slug([experiment, name])}.csv")
        table.to_csv(drawn[-1], index=False, float_format="%.6g")
    for dataset, rows in curves.groupby("dataset", sort=False):
        results = Results(folder, str(dataset), rows, number, comparison.get("tests"))
        title = results.dataset.capitalize() if dataset in paper.COUNTERPARTS else results.dataset
        for figure in named or _default(results):
            for one in FIGURES[figure](results):
                if names is not None and _slug(one.name) not in names:
                    continue
                shows = f"{title}, {METRICS[one.metric].label}: {one.title}"
                ax = one.draw(one.table, title=shows, size=size)
                beside = "paper" in one.table and bool(one.table["paper"].notna().any())
                under = caption(shows, one.table, one.metric, displaced=displaced(ax.figure), paper=beside)
                under = " ".join(filter(None, (under, one.note, model)))
                drawn += save(ax, out / _slug([experiment, results.dataset, *one.name]), one.table, size=size, caption=under)
    return drawn


def _phenomena(folder: Path, out: Path, experiment: str, size: str, model: str) -> list[Path]:
    """The figure of a phenomenon with its means, its tests, and what people did."""
    from memsci.phenomena import Phenomenon, tidy

    drawn = []
    for dataset, rows in files.table(folder, "partitions").groupby("dataset", sort=False):
        found = Phenomenon(dataset, tidy(rows.rename(columns={"partition": "list"}), phenomenon=dataset))
        name = _slug([experiment, *([] if dataset == experiment else [dataset])])
        figure = found.figure(size)
        under = f"{_of_phenomenon(found, displaced(figure))} {model}"
        drawn += save(figure, out / name, found.shown(), size=size, caption=under)
        for what, table in (("tests", found.test()), ("human", found.human)):
            if len(table):
                drawn.append(out / f"{name}_{what}.csv")
                table.to_csv(drawn[-1], index=False, float_format="%.6g")
    return drawn


def _of_phenomenon(found: Phenomenon, apart: list[str]) -> str:
    """The caption of a phenomenon, with its claims and their verdicts."""
    from memsci.phenomena.result import ABOUT
    from memsci.phenomena.result import told as verdict

    known, tests, told = ABOUT[found.name], found.test(), []
    for claim, row in zip(known.claims, tests.itertuples(), strict=True):
        if not row.n:
            continue
        how = [f"n = {row.n}"]
        how += [f"within ± {claim.margin:g}"] if claim.kind == "equal" else []
        how += [f"p = {row.p_holm:.2g}"] if pd.notna(row.p_holm) else []
        told.append(f"{row.claim} ({', '.join(how)}): {verdict(row)}")
    if waiting := tests.loc[tests["n"] == 0, "claim"].tolist():
        told.append(f"not run: {'; '.join(waiting)}")
    kinds = {claim.kind for claim, n in zip(known.claims, tests["n"]) if n}
    test = f"{_how_tested(tests, kinds)}: {'; '.join(told)}" if told else ""
    cut = ", cut where the scale ends" if known.bounds else ""
    bars = {"interval": f"{WITHIN.format(known.unit)}{cut}"} if known.within else {}
    means = found.shown()
    means = means[means["measure"].isin(known.drawn)] if known.drawn else means
    under = caption(known.title, means, unit=known.unit, test=test, displaced=apart, **bars)
    return " ".join(filter(None, (under, _too_few(tests), known.note)))


def _how_tested(tests: pd.DataFrame, kinds: set[str]) -> str:
    """By which tests claims of these kinds were decided."""
    exact = "exact" if tests["n"].max() <= EXACT_UNITS else f"{FLIPS:,} draws"
    how = [f"two-sided sign-flip tests ({exact})"] if kinds & {"more", "less"} else []
    how += ["permutations of Spearman's ρ for orders"] if "ordered" in kinds else []
    how += ["a 90 % interval for what is to be within a margin"] if "equal" in kinds else []
    said = ", ".join(how) or "no test"
    if tests["p_holm"].notna().any():
        free = ", but for those by construction" if tests.loc[tests["n"] > 0, "by_construction"].any() else ""
        said += f"; p after Holm's correction over the claims of this figure{free}"
    return said[:1].upper() + said[1:]


def _too_few(tests: pd.DataFrame) -> str:
    """Where so few lists were run that not even the least p would be low enough, that this is so."""
    from memsci.phenomena.result import LEVEL

    tried = tests[tests["p_holm"].notna()]
    n = int(tried["n"].max()) if len(tried) else 0
    if not n or len(tried) * 2 / 2**n <= LEVEL:
        return ""
    return f"With n = {n} no p of these tests can be below {LEVEL:g} after the correction, so that none of them could hold."


def _experiment(folder: Path) -> tuple[str, Iterable[str], int | None]:
    """Name of the experiment of a run, its figures, and its table of the paper."""
    about: dict[str, Any] = files.read_json(folder / "run.json")
    name = about["experiment"]
    if "figures" not in about and name in experiments.names():  # a run from before experiments named their figures
        known = experiments.load(name)
        return name, known.figures, known.paper_table
    return name, about.get("figures", ()), about.get("paper_table")


def _default(results: Results) -> list[str]:
    """The figures of an experiment that names none."""
    if "comparison" in results.curves:
        return list(experiments.GATE_FIGURES)
    by_prompt = (results.curves["over"] == "category").any()
    at_end = "prompt_categories" if by_prompt else "sweep" if results.swept else "method_bars"
    return ["forgetting_curve", "retention_curve", "knowledge_curve", at_end, "differences"]


def _beside_paper(curves: pd.DataFrame, folder: Path, number: int | None) -> dict[str, pd.DataFrame]:
    """The results beside those of the paper's table, the order of the methods, and tests of their differences."""
    if number is None or paper.beside(_last(curves), number)["paper"].isna().all():
        return {}
    compared = paper.compare(_last(curves), number)
    if paper.pairs(compared).empty:  # one method alone has no order
        return {"paper": compared}
    tests = paper.tested(compared, _last(files.table(folder, "partitions")))
    return {"paper": compared, "order": paper.ordering(compared), "tests": tests}


def _last(curves: pd.DataFrame) -> pd.DataFrame:
    """What is known of all memories at the end of each dataset."""
    rows = curves[curves["over"] == "all memories"]
    return rows[rows["stop"] == rows.groupby("dataset")["stop"].transform("max")]


def _slug(parts: Iterable[str]) -> str:
    """Parts of a file's name, each in lower-case letters, digits, and single hyphens.

    Examples
    --------
    >>> _slug(["mine", "episodic", "own (the paper's)"])
    'mine_episodic_own-the-papers'
    """
    return "_".join(re.sub(r"[\W_]+", "-", part.lower().replace("'", "")).strip("-") for part in parts)


# Runs in which memories were learnt and asked about


def forgetting_curve(results: Results) -> Iterator[Drawing]:
    """The first memory, as more are stored."""
    for metric, rows in results.by_metric("first memory"):
        table = _shown(rows, metric)
        if metric == "recall cos":
            table = pd.concat([table, results.last[results.last["metric"] == "random pair cos"].head(1)])
        title = "the first memory, as more are stored"
        yield Drawing(("first memory", metric), metric, title, table, partial(methods.forgetting_curve, metric=metric))


def retention_curve(results: Results) -> Iterator[Drawing]:
    """All memories by how many were learnt since, in bins, each pooled within its partition."""
    if not (results.curves["over"] == "lag").any():
        return
    values = results.table("partitions").query("over == 'lag' and metric in @_METRICS")
    for metric, rows in values.groupby("metric", sort=False):
        binned = bin_lags(_shown(rows, metric))
        table = mean_table(binned, [name for name in binned if name not in ("partition", "value")])
        title = "by how many memories were learnt since"
        yield Drawing(("lag", metric), metric, title, table, partial(methods.retention_curve, metric=metric))


def knowledge_curve(results: Results) -> Iterator[Drawing]:
    """General knowledge, where there are several stops."""
    rows = results.curves[(results.curves["over"] == "all memories") & (results.curves["metric"] == "knowledge")]
    if rows["stop"].nunique() > 1:
        title = "as more memories are stored"
        yield Drawing(("knowledge curve",), "knowledge", title, rows, methods.knowledge_curve)


def prompt_categories(results: Results) -> Iterator[Drawing]:
    """Each encoding prompt, and all of a category together."""
    rows = results.curves[results.curves["category"].fillna("").ne("") & results.curves["way"].ne("recall first")]
    rows = rows.assign(prompt=rows["setting"].str.removeprefix("prompt="))
    for metric, table in rows[rows["metric"].isin(_METRICS)].groupby("metric", sort=False):
        title = f"by encoding prompt, {_asked(table)}"
        yield Drawing(("prompts", metric), metric, title, table, partial(methods.prompt_categories, metric=metric))


def sweep(results: Results) -> Iterator[Drawing]:
    """The end of the sequence against the setting that takes several numbers."""
    for metric, rows in _at_end(results) if results.swept else ():
        table, draw = _shown(rows, metric), partial(methods.sweep, setting=results.swept, metric=metric)
        yield Drawing((results.swept, metric), metric, _asked(table), table, draw)


def method_bars(results: Results) -> Iterator[Drawing]:
    """The end of the sequence, beside the paper's values; and by prompting mode, where learners recalled first."""
    for metric, rows in _at_end(results):
        table, note = _few_settings(_shown(rows, metric))
        # The paper's knowledge is of MMLU, which is another measure than that of the built-in world.
        beside = paper.beside(table, results.paper_table) if results.paper_table and metric != "knowledge" else table
        yield Drawing(("bars", metric), metric, _asked(table), beside, partial(methods.method_bars, metric=metric), note)
        recalled = rows.loc[rows["way"] == "recall first", "method"]
        if metric not in WAYLESS and set(recalled) - {"MEGa"}:
            both, note = _few_settings(rows[rows["method"].isin(recalled)])
            draw = partial(methods.method_bars, metric=metric, methods=list(dict.fromkeys(labels(both))))
            yield Drawing(("ways", metric), metric, "by way of asking", both, draw, note)


def _few_settings(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows that bars show, and a word for the caption: where there are too many, of a method with more than `FEW`
    settings the first and the best."""
    if len(table) <= MOST_BARS:
        return table, ""
    named = labels(table)
    settings = table["setting"].fillna("")
    many = settings.groupby(named).nunique() > FEW
    best = table["mean"].groupby(named).idxmax()
    first = settings.groupby(named).transform("first")
    kept = ~named.map(many) | (settings == first) | (table.index == named.map(best))
    if kept.all():
        return table, ""
    count = int(settings.groupby(named).nunique().max())
    shown = "the first and, chosen on these data, the best is shown"
    shown += "; where a bar names none, both are the same"
    return table[kept], f"Of a method with more than {FEW} settings (up to {count}) {shown}."


def differences(results: Results) -> Iterator[Drawing]:
    """MEGa and iRAG less each other method, where several partitions were measured."""
    if (tests := results.tests) is None:
        return
    tests = tests[(tests["dataset"] == results.dataset) & tests["n"].gt(1)]
    tests = tests[tests[["better", "worse"]].isin(["MEGa", "iRAG"]).any(axis=1)]
    for metric, table in tests.groupby("metric", sort=False):
        draw = partial(methods.differences, metric=metric)
        yield Drawing(("differences", metric), metric, "differences", table, draw)


def _shown(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of the methods that are drawn."""
    return chosen(rows, metric).drop(columns="label")


def _at_end(results: Results) -> Iterator[tuple[str, pd.DataFrame]]:
    """The metrics of all memories at the end, with their rows."""
    last = results.last
    return ((name, rows) for name in _METRICS if len(rows := last[last["metric"] == name]))


def _asked(table: pd.DataFrame) -> str:
    """After how many memories it was asked, or of how many each was asked about alone."""
    count = f"{table['stop'].max():.0f} memories"
    return f"{count}, each under its true gate" if set(table["gate"]) == {"true"} else f"after {count}"


# Runs in which the gate alone was measured

_GATE = "correct gate"


def gate_by_layer(results: Results) -> Iterator[Drawing]:
    """The paper's embedding by layer; and for each site every pooling and similarity, where there are others."""
    rows = results.curves[results.curves["comparison"] == "by layer"]
    title, draw = "by the layer that is embedded", gates.gate_by_layer
    plain = (rows["pooling"] == "mean") & (rows["similarity"] == "inner")  # the paper's
    if plain.any():
        yield Drawing(("layers",), _GATE, title, rows[plain], draw)
    for site, table in rows.groupby("site", sort=False) if not plain.all() else ():
        yield Drawing(("layers", site), _GATE, title, table, draw)


def embedding_curve(results: Results) -> Iterator[Drawing]:
    """Every embedding by number of memories."""
    table = results.curves[results.curves["comparison"] == "by count"]
    if len(table):
        # See `memsci.evaluate.gate_accuracy.unify_names`.
        unified = results.dataset in paper.ONE_PERSON and table["n"].max() > 1
        title = f"by number of memories{', one name for all persons' if unified else ''}"
        yield Drawing(("count",), _GATE, title, table, gates.embedding_curve)


def gate_per_partition(results: Results) -> Iterator[Drawing]:
    """Every embedding in every partition."""
    if (results.curves["comparison"] == "by embedding").any():
        rates = results.table("partitions").query("comparison == 'by embedding'")
        rates = rates[["embedding", "partition", "value"]].rename(columns={"value": "mean"})
        yield Drawing(("partitions",), _GATE, "every partition", rates, gates.gate_per_partition)


def confusion(results: Results) -> Iterator[Drawing]:
    """Which memory is taken for which, by the first embedding, the paper's, and by the last, the strongest."""
    if not (results.curves["comparison"] == "by embedding").any():
        return
    rows = results.table("confusion")
    ids = list(dict.fromkeys([*rows["memory_id"], *rows["top_id"]]))
    names = list(dict.fromkeys(rows["embedding"]))
    for name in dict.fromkeys((names[0], names[-1])):
        table = rows.loc[rows["embedding"] == name, ["memory_id", "top_id", "share"]]
        title = f"{name}, partition {rows['partition'].iloc[0]}"
        yield Drawing(("confusion", name), _GATE, title, table, partial(gates.confusion, ids=ids))


FIGURES: dict[str, Callable[[Results], Iterator[Drawing]]] = {
    name: globals()[name] for name in (*experiments.FIGURES, *experiments.GATE_FIGURES)
}
