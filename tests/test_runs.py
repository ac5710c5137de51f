"""Runs: found by content, resumed, shared between runners, and the same tables however they were made."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import fakework
import pandas as pd
import pytest
from fakework import BASE

from memsci import provenance, runs
from memsci.errors import MemsciError
from memsci.experiments import Cell
from memsci.files import content, read_json, write_json
from memsci.runs import execute
from memsci.runs import folder as files
from memsci.runs.finish import score_cell
from memsci.runs.pool import locally
from memsci.runs.progress import TimeLeft
from memsci.runs.report import draw
from memsci.runs.tables import curves, together
from memsci.runs.worker import Outcome, cores, work

TABLES = ("responses.csv.gz", "scores.csv.gz", "training.csv", "partitions.csv.gz", "curves.csv")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "mine.csv"
    pd.DataFrame({"text": [f"On day {k} somebody saw {k + 7} birds." for k in range(120)]}).to_csv(path, index=False)
    return path


@pytest.fixture
def marks(tmp_path, monkeypatch):
    """Where cells note that they were begun; workers take over the environment."""
    path = tmp_path / "marks"
    path.mkdir()
    monkeypatch.setenv("FAKE_MARKS", str(path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    return path


def begun(marks: Path) -> list[str]:
    return (marks / "begun").read_text().splitlines() if (marks / "begun").exists() else []


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def in_this_process(prepared: runs.Prepared) -> Path:
    """The same run without any other process: what the others are compared with."""
    for job in prepared.jobs:
        assert work(job).status == "done"
    runs.finish(prepared.folder)
    return prepared.folder


def test_a_run_is_found_by_its_content(table, marks, tmp_path):
    one = fakework.prepare(table, tmp_path / "runs")
    assert one.folder.name.startswith("fake-") and len(one.folder.name) == len("fake-") + 12
    again = fakework.prepare(table, tmp_path / "runs")
    assert (again.folder, [job.id for job in again.jobs]) == (one.folder, [job.id for job in one.jobs])
    moved = tmp_path / "elsewhere" / "mine.csv"
    moved.parent.mkdir()
    table.rename(moved)
    assert fakework.prepare(moved, tmp_path / "runs").folder == one.folder
    other = fakework.prepare(moved, tmp_path / "runs", stops=(1,))
    assert other.folder != one.folder and {job.id for job in other.jobs}.isdisjoint(job.id for job in one.jobs)
    config = json.loads((one.folder / "config.json").read_text())
    assert content(config)[:12] == one.folder.name.rpartition("-")[2]
    about = json.loads((one.folder / "run.json").read_text())
    assert about["status"] == "begun" and len(about["cells"]) == 6 and about["versions"]["memsci"]


def test_another_number_type_or_tokenizer_is_another_run(table, marks, tmp_path, monkeypatch):
    one = fakework.prepare(table, tmp_path / "runs")
    assert "dtype" not in one.config  # results from before it was told keep their names
    for name, value in (("dtype", "bfloat16"), ("tokenizer", "u" * 64)):
        monkeypatch.setattr(fakework, "BASE", {**BASE, name: value})
        other = fakework.prepare(table, tmp_path / "runs")
        assert other.config[name] == value and {job.id for job in other.jobs}.isdisjoint(job.id for job in one.jobs)
    monkeypatch.setattr(fakework, "BASE", {**BASE, "device": "cuda:0"})
    same = fakework.prepare(table, tmp_path / "runs")
    assert same.folder == one.folder and same.device == "cuda:0"  # where it is now, not where it was begun


def test_other_words_in_a_memory_are_another_run(table, marks, tmp_path):
    one = fakework.prepare(table, tmp_path / "runs")
    other = tmp_path / "other" / "mine.csv"
    other.parent.mkdir()
    other.write_text(table.read_text().replace("somebody saw 7 birds", "nobody saw 7 birds"))
    changed = fakework.prepare(other, tmp_path / "runs")
    same = [a.id == b.id for a, b in zip(one.jobs, changed.jobs)]
    assert changed.folder != one.folder and same == [False, False, True, True, True, True]


def test_cells_that_another_run_has_finished_are_taken_over(table, marks, tmp_path):
    in_this_process(fakework.prepare(table, tmp_path / "runs", partitions=(0, 1)))
    more = fakework.prepare(table, tmp_path / "runs")
    runs.run(more, processes=1, threads=1, progress=False)
    assert sorted(begun(marks)) == sorted({job.cell.label for job in more.jobs})
    undisturbed = in_this_process(fakework.prepare(table, tmp_path / "alone"))
    assert contents(more.folder) == contents(undisturbed)


def test_cells_say_by_what_they_were_made_and_a_run_sums_it_up(table, marks, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: "a" * 40)
    monkeypatch.setattr(provenance, "now", lambda: "2026-01-01T00:00:00+00:00")
    first = in_this_process(fakework.prepare(table, tmp_path / "runs", partitions=(0, 1)))
    cell = files.about_cell(first, read_json(first / "run.json")["cells"][0]["id"])
    assert list(cell) == ["label", "commit", "versions", "machine", "threads", "begun", "device", "finished", "seconds",
                          "processor_seconds"]  # fmt: skip
    assert cell["commit"] == "a" * 40 and cell["versions"]["torch"] and cell["device"] == "cpu" and cell["threads"] == 1
    assert 0 <= cell["processor_seconds"]

    monkeypatch.setattr(provenance, "commit", lambda: "b" * 40)
    monkeypatch.setattr(provenance, "now", lambda: "2026-02-02T00:00:00+00:00")
    more = fakework.prepare(table, tmp_path / "runs")
    for job in more.jobs:
        assert files.borrow(more.folder, job.id, score_cell) or work(job).status == "done"
    runs.finish(more.folder)
    about = read_json(more.folder / "run.json")
    assert about["commits"] == ["a" * 40, "b" * 40] and about["threads"] == 1
    assert about["begun"].startswith("2026-01-01")
    cells = [files.about_cell(more.folder, job.id) for job in more.jobs]
    for what in ("seconds", "processor_seconds"):
        assert about[what] == pytest.approx(sum(cell[what] for cell in cells), abs=0.051)


def test_time_of_the_processor_does_not_count_pauses(table, marks, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_SECONDS", "0.4")
    prepared = fakework.prepare(table, tmp_path / "runs", partitions=(0,), methods=("Base",))
    cell = files.about_cell(in_this_process(prepared), prepared.jobs[0].id)
    assert cell["seconds"] >= 0.4 > cell["processor_seconds"]


def test_a_cell_that_ends_while_tables_are_made_is_not_lost(table, marks, tmp_path, monkeypatch):
    prepared = fakework.prepare(table, tmp_path / "runs", partitions=(0,))
    first, last = prepared.jobs
    assert work(first).status == "done"
    gather = files.gather
    monkeypatch.setattr(files, "gather", lambda *given: [gather(*given), work(last)][0])  # another runner's
    runs.finish(prepared.folder)
    assert runs.status(prepared.folder) == "unfinished"
    monkeypatch.setattr(files, "gather", gather)
    runs.run(prepared, progress=False)
    assert runs.status(prepared.folder) == "finished"
    assert contents(prepared.folder) == contents(in_this_process(fakework.prepare(table, tmp_path / "a", partitions=(0,))))


def test_a_cell_whose_folder_is_removed_is_done_again(table, marks, tmp_path):
    prepared = fakework.prepare(table, tmp_path / "runs", partitions=(0,))
    folder = in_this_process(prepared)
    before = contents(folder)
    shutil.rmtree(folder / "cells" / prepared.jobs[1].id)
    assert prepared.left == [prepared.jobs[1]]
    runs.run(prepared, processes=1, threads=1, progress=False)
    assert contents(folder) == before and not prepared.left


def test_only_a_finished_run_with_responses_is_scored_anew(table, marks, tmp_path):
    prepared = fakework.prepare(table, tmp_path / "runs", partitions=(0,))
    with pytest.raises(MemsciError, match="holds no responses"):
        runs.score(prepared.folder)
    assert work(prepared.jobs[0]).status == "done"
    with pytest.raises(MemsciError, match="1 of 2 cells of .* are not finished"):
        runs.score(prepared.folder)


def test_what_fails_outside_a_cell_is_told_as_it_is(table, marks, tmp_path):
    job = fakework.prepare(table, tmp_path / "runs").jobs[0]
    (job.folder / "cells").write_text("no folder")
    ((_, ended, outcome),) = (event for event in locally([job], 1) if event[0] == "end")
    assert ended == job and outcome.status == "failed" and outcome.error.startswith("FileExistsError: ")


def test_two_processes_give_the_tables_of_one(table, marks, tmp_path):
    alone = in_this_process(fakework.prepare(table, tmp_path / "alone"))
    prepared = fakework.prepare(table, tmp_path / "runs")
    folder = runs.run(prepared, processes=2, threads=1, progress=False)
    assert contents(folder) == contents(alone)
    assert runs.status(folder) == "finished"
    assert not [path for path in (folder / "cells").iterdir() if path.name.startswith(".")]
    count = len(begun(marks))
    runs.run(prepared, progress=False)
    assert len(begun(marks)) == count  # nothing was left to do
    found = runs.find(tmp_path / "runs")
    assert found[["run", "status", "cells"]].values.tolist() == [[folder.name, "finished", "6/6"]]


STOPPED = """
import sys
import fakework
from pathlib import Path
from memsci.runs.pool import locally
if __name__ == "__main__":
    jobs = fakework.prepare(Path(sys.argv[1]), Path(sys.argv[2])).jobs
    events = locally(jobs[:int(sys.argv[3])], 2)
    marks = Path(sys.argv[4])
    for event in events:
        if int(sys.argv[3]) > 1 and len(list(marks.glob("fake-*"))) == 2:
            break  # both are at work
    events.close()
"""


@pytest.mark.parametrize("jobs", [1, 6])
def test_a_worker_that_is_told_to_stop_leaves_nothing_behind(table, marks, tmp_path, monkeypatch, jobs):
    """One without a job ends by itself; one at work is told to."""
    (script := tmp_path / "script.py").write_text(STOPPED)
    monkeypatch.setenv("FAKE_SECONDS", "0" if jobs == 1 else "60")
    given = [sys.executable, str(script), str(table), str(tmp_path / "runs"), str(jobs), str(marks)]
    begun = time.monotonic()
    done = subprocess.run(given, capture_output=True, text=True)
    assert done.returncode == 0 and "leaked" not in done.stderr, done.stderr
    assert not list(marks.glob("fake-*")) and time.monotonic() - begun < 50


def test_a_killed_process_loses_its_cell_alone_and_it_is_done_once_more(table, marks, tmp_path, monkeypatch):
    prepared = fakework.prepare(table, tmp_path / "runs")
    monkeypatch.setenv("FAKE_KILL", prepared.jobs[2].cell.label)
    folder = runs.run(prepared, processes=2, threads=1, progress=False)
    labels = [job.cell.label for job in prepared.jobs]
    assert sorted(begun(marks)) == sorted([*labels, labels[2]])
    monkeypatch.delenv("FAKE_KILL")
    assert contents(folder) == contents(in_this_process(fakework.prepare(table, tmp_path / "alone")))


def test_a_cell_that_always_kills_its_process_fails_and_the_others_are_finished(table, marks, tmp_path, monkeypatch):
    prepared = fakework.prepare(table, tmp_path / "runs", partitions=(0,))
    monkeypatch.setenv("FAKE_KILL", prepared.jobs[0].cell.label)
    monkeypatch.setenv("FAKE_ALWAYS", "1")
    with pytest.raises(runs.Failed, match=r"1 of 2 cells failed.*killed 2 times, with exit code -9"):
        runs.run(prepared, processes=1, threads=1, progress=False)
    assert runs.status(prepared.folder) == "unfinished"
    assert set(files.table(prepared.folder, "training")["method"]) == {"MEGa"}


def test_an_error_in_a_cell_is_kept_and_tried_again(table, marks, tmp_path, monkeypatch):
    prepared = fakework.prepare(table, tmp_path / "runs", partitions=(0,))
    monkeypatch.setenv("FAKE_ERROR", prepared.jobs[1].cell.label)
    with pytest.raises(runs.Failed, match="ZeroDivisionError: not that"):
        runs.run(prepared, processes=1, threads=1, progress=False)
    assert "ZeroDivisionError" in (prepared.folder / "failed" / f"{prepared.jobs[1].id}.txt").read_text()
    monkeypatch.delenv("FAKE_ERROR")
    runs.run(prepared, processes=1, threads=1, progress=False)
    assert runs.status(prepared.folder) == "finished"
    about = json.loads((prepared.folder / "run.json").read_text())
    (prepared.folder / "run.json").write_text(json.dumps(about | {"failed": {"c": "no"}}))  # which another run finished
    runs.run(prepared, processes=1, threads=1, progress=False)
    assert json.loads((prepared.folder / "run.json").read_text())["failed"] == {}


SCRIPT = """
import sys
import fakework
from pathlib import Path
from memsci import runs
if __name__ == "__main__":
    runs.run(fakework.prepare(Path(sys.argv[1]), Path(sys.argv[2])), processes=2, threads=1, progress=False)
"""


def test_a_run_killed_half_way_ends_with_its_workers(table, marks, tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    monkeypatch.setenv("FAKE_SECONDS", "300")
    started = subprocess.Popen([sys.executable, str(script), str(table), str(tmp_path / "runs")], start_new_session=True)
    deadline = time.monotonic() + 120
    while not begun(marks) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert begun(marks)
    started.kill()  # the program alone
    started.wait()
    try:
        with pytest.raises(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(started.pid, 0)
                time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)


def test_a_run_killed_half_way_goes_on_and_gives_the_same_tables(table, marks, tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    prepared = fakework.prepare(table, tmp_path / "runs")
    monkeypatch.setenv("FAKE_SECONDS", "1")
    started = subprocess.Popen([sys.executable, str(script), str(table), str(tmp_path / "runs")], start_new_session=True)
    done = lambda: sum(files.finished(prepared.folder, job.id) for job in prepared.jobs)
    deadline = time.monotonic() + 120
    while done() < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(started.pid, signal.SIGKILL)  # the program and its workers, without a word
    assert started.wait() == -signal.SIGKILL
    assert 1 <= done() < 6
    assert not (prepared.folder / "scores.csv.gz").exists()
    first = begun(marks)

    monkeypatch.setenv("FAKE_SECONDS", "0")
    finished = [job.cell.label for job in prepared.jobs if files.finished(prepared.folder, job.id)]
    folder = runs.run(prepared, processes=2, threads=1, progress=False)
    second = begun(marks)[len(first) :]
    assert sorted([*finished, *second]) == sorted(job.cell.label for job in prepared.jobs)
    assert contents(folder) == contents(in_this_process(fakework.prepare(table, tmp_path / "alone")))


def test_two_runners_at_once_do_no_cell_twice(table, marks, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_SECONDS", "0.2")
    prepared = fakework.prepare(table, tmp_path / "runs")
    runners = [threading.Thread(target=runs.run, args=(prepared, 1, 1), kwargs={"progress": False}) for _ in range(2)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join(120)
    assert sorted(begun(marks)) == sorted(job.cell.label for job in prepared.jobs)
    assert runs.status(prepared.folder) == "finished"


def test_a_cell_that_is_held_is_busy(table, marks, tmp_path):
    job = fakework.prepare(table, tmp_path / "runs").jobs[0]
    with files.held(job.folder, job.id) as mine:
        assert mine and work(job) == Outcome("busy")
    assert work(job).status == "done" and work(job) == Outcome("done")
    assert len(begun(marks)) == 1


def test_a_worker_that_does_not_see_the_folder_says_so(table, marks, tmp_path):
    job = fakework.prepare(table, tmp_path / "runs").jobs[0]
    (job.folder / "config.json").unlink()
    assert "must be shared" in work(job).error


def test_tables_come_back_as_they_were_written(table, marks, tmp_path):
    folder = in_this_process(fakework.prepare(table, tmp_path / "runs", partitions=(0,)))
    responses = files.table(folder, "responses")
    assert set(responses["answer"]) == {"nan"} and set(responses["target"]) == {'a, "b"\nc'}
    assert set(responses["setting"]) == set(responses["recalled"]) == {""} and responses["top_id"].isna().all()
    assert responses["stop"].dtype.kind == "i" and responses["logprob"].dtype.kind == "f"
    assert files.table(folder, "scores")["higher_is_better"].dtype == bool
    assert files.table(folder, "quiz") is None
    assert files.table(folder, "cells")["finished"].all()


@pytest.mark.parametrize(
    "said", ["mole\rhill", "mole\r\nhill", "mole\nhill", 'a "mole", hill', "\x00mole\u2028", "", "None"]
)
def test_whatever_a_model_says_comes_back_as_it_was_said(said):
    table = pd.DataFrame({"method": ["MEGa"], "answer": [said], "target": ["mole"], "recalled": [said]})
    assert files.read(BytesIO(files.csv(table))).to_dict("list") == table.to_dict("list")


def test_of_a_method_that_recalls_nothing_no_recall_comes_back():
    table = pd.DataFrame({"method": ["MEGa", "RAG", "In context"], "recalled": ["", "", ""]})
    assert files.read(BytesIO(files.csv(table)))["recalled"].isna().tolist() == [False, True, True]


def test_packed_tables_carry_neither_time_nor_name(table, marks, tmp_path):
    packed = (in_this_process(fakework.prepare(table, tmp_path / "runs", partitions=(0,))) / "scores.csv.gz").read_bytes()
    assert packed[3:8] == bytes(5) and gzip.decompress(packed).startswith(b"dataset,partition,method,setting,stop,")


def test_curves_say_what_they_are_over(table, marks, tmp_path):
    folder = in_this_process(fakework.prepare(table, tmp_path / "runs"))
    curves, scores = files.table(folder, "curves"), files.table(folder, "scores")
    assert list(curves["over"].unique()) == ["all memories", "first memory", "lag", "backward transfer"]
    one = scores[(scores["method"] == "MEGa") & (scores["stop"] == 3)]
    at = curves[(curves["method"] == "MEGa") & (curves["stop"] == 3)].set_index("over")
    assert at.loc["all memories", "mean"] == pytest.approx(one["value"].mean())
    assert at.loc["first memory", "mean"] == pytest.approx(one.loc[one["position"] == 1, "value"].mean())
    assert (at["n"] == 3).all()
    assert curves.loc[curves["over"] == "lag", "lag"].dropna().unique().tolist() == [0, 1, 2]


def test_prompts_are_averaged_by_category(table, marks, tmp_path):
    from memsci.experiments import prompt_categories

    names = prompt_categories()
    two = ["fact-1", "fact-2", "fake-1"]
    changes = {"methods": ("MEGa",), "stops": (), "settings": {"MEGa": tuple(f"prompt={name}" for name in two)}}
    curves = files.table(in_this_process(fakework.prepare(table, tmp_path / "runs", **changes)), "curves")
    each = curves[curves["over"] == "all memories"].set_index("setting")["mean"]
    whole = curves[curves["over"] == "category"].set_index("category")["mean"]
    assert whole["fact"] == pytest.approx((each["prompt=fact-1"] + each["prompt=fact-2"]) / 2)
    assert whole["fake"] == pytest.approx(each["prompt=fake-1"])
    assert {names[name] for name in two} == set(whole.index)


def test_a_run_is_located_by_the_beginning_of_its_name(table, marks, tmp_path):
    one = fakework.prepare(table, tmp_path / "runs").folder
    assert files.locate(str(one)) == files.locate("fake", tmp_path / "runs") == one
    fakework.prepare(table, tmp_path / "runs", stops=(1,))
    with pytest.raises(MemsciError, match="2 runs begin with 'fake'"):
        files.locate("fake", tmp_path / "runs")
    with pytest.raises(MemsciError, match="no run is called 'main'"):
        files.locate("main", tmp_path / "runs")


def test_columns_that_differ_are_not_put_together(tmp_path):
    (tmp_path / "cells").mkdir()
    for name, column in (("a", "loss"), ("b", "value"), ("c", "list"), ("d", "loss")):
        files.keep(tmp_path, name, {"training": pd.DataFrame({column: ["007"], "condition": "near"})}, {})
    with pytest.raises(MemsciError, match="other columns"):
        files.gather(tmp_path, ["a", "b"])


def test_extra_columns_of_some_memories_are_empty_for_the_others(tmp_path):
    (tmp_path / "cells").mkdir()
    for name, extra in (("a", {"list": "007"}), ("b", {"condition": "near"})):
        files.keep(tmp_path, name, {"training": pd.DataFrame({"loss": [1.5], **extra})}, {})
    files.gather(tmp_path, ["a", "b"])
    found = files.table(tmp_path, "training")
    assert found.to_dict("list") == {"loss": [1.5, 1.5], "list": ["007", ""], "condition": ["", "near"]}


def test_memory_is_kept_where_the_library_can(table, marks, tmp_path, monkeypatch):
    asked = []
    library = SimpleNamespace(mallopt=lambda *what: asked.append(what))
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    first, second, *_ = fakework.prepare(table, tmp_path / "runs").jobs
    assert work(first).status == "done" and asked == [(-1, 2**31 - 1), (-3, 2**31 - 1)]
    del library.mallopt  # another C library
    assert work(second).status == "done"


def test_workers_share_the_cores():
    assert execute.workers(8, None, None, None, False)[0] == min(8, cores())
    assert execute.workers(1, None, 3, None, False) == (1, 3, [None])
    assert execute.workers(8, 4, None, "slurm", False) == (4, 1, [None])
    assert execute.workers(80, None, None, "local", False) == (cores(), 1, [None])
    assert execute.workers(80, None, None, "tcp://there:8786", False) == (1, 1, [None])


def test_workers_that_there_cannot_be_are_refused_before_a_model_is_read(monkeypatch):
    pytest.importorskip("dask_jobqueue")
    with pytest.raises(MemsciError, match="how many batch jobs slurm is to hold"):
        runs.check_workers(cluster="slurm")
    with pytest.raises(MemsciError, match="processes must be a whole number from 1 up"):
        runs.check_workers(processes=0)
    with pytest.raises(MemsciError, match="'sge' was given"):
        runs.check_workers(8, cluster="sge")
    monkeypatch.setattr(runs, "prepare", lambda *what: pytest.fail("read a model"))
    from typer.testing import CliRunner

    from memsci.cli import main as cli

    for words, why in (("--cluster slurm", "how many batch jobs"), ("--cluster sge", "'sge' was given")):
        refused = CliRunner().invoke(cli.app, ["run", "main", *words.split()], env={"COLUMNS": "200"})
        assert refused.exit_code == 2 and why in refused.stderr


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_is_no_folder_for_runs(table, marks, tmp_path, monkeypatch, below):
    (tmp_path / "file").write_text("kept")
    where = tmp_path / "file" / below
    monkeypatch.setattr("memsci.models.base.load", lambda *a, **k: pytest.fail("read a model"))
    prepared = in_this_process(fakework.prepare(table, tmp_path / "runs", partitions=(0,)))
    for act in (
        lambda: runs.prepare(fakework.experiment(table), runs=where),
        lambda: fakework.prepare(table, where),
        lambda: runs.find(where),
        lambda: files.locate("fake", where),
        lambda: runs.publish(prepared, where),
        lambda: draw(prepared, where),
    ):
        with pytest.raises(MemsciError, match="file is a file"):
            act()
    assert (tmp_path / "file").read_text() == "kept"


def test_paths_begin_at_home(table, marks, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path)), monkeypatch.setenv("USERPROFILE", str(tmp_path))
    prepared = fakework.prepare(Path("~/mine.csv"), Path("~/runs"))
    assert prepared.folder.parent == tmp_path / "runs" and len(runs.find("~/runs")) == 1
    assert files.locate("~/runs/" + prepared.folder.name) == files.locate("fake", "~/runs") == prepared.folder


def test_time_left_is_that_of_the_cells_still_to_come():
    expected = {"a": 100.0, "b": 400.0, "c": 30.0, "d": 30.0, "e": 100.0, "f": 100.0}
    methods = dict(zip("abcdef", ("MEGa", "Full", "Base", "Base", "MEGa", "MEGa")))
    left = TimeLeft(expected, methods)
    assert left(2) == ""
    for cell, seconds in (("d", 10.0), ("e", 100.0), ("f", 140.0)):
        left.end(cell, seconds)
    # MEGa 1.2 times as long as planned, Base a third, all together 250 / 230: (120 + 435 + 10) / 2 = 282 s
    assert left(2) == "5 min left"
    left.end("c")  # it failed: nobody is as quick as who fails
    assert left(8) == "69 s left"  # 555 s by eight


def test_a_run_is_found_and_drawn_without_torch(table, marks, tmp_path):
    code = "import sys, memsci.runs.report; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_cells_are_named_for_people():
    assert Cell(measure="gates", dataset="wiki", partitions=(0, 1, 2), method="by count").label == "wiki 0-2, by count"


def test_the_command_line_runs_lists_scores_and_draws(table, marks, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from memsci.cli import main as cli

    say = lambda *words: CliRunner().invoke(cli.app, [str(word) for word in words], env={"COLUMNS": "200"})
    prepared, asked = fakework.prepare(table, tmp_path / "runs", partitions=(0,)), []
    monkeypatch.setattr(runs, "prepare", lambda *what: asked.append(what) or prepared)
    where = ("--folder", tmp_path / "runs")
    options = ("--partitions", "0-1", "--methods", "MEGa,Full batch", "--processes", 1, "--threads", 1, "--seed", 3)
    first = say("run", "main", *options, *where)
    assert first.exit_code == 0 and f"Tables are in {prepared.folder}" in first.stdout, first.output
    chosen, base, seed, folder, quiz, dtype = asked[0]
    assert (chosen.partitions, chosen.methods, seed) == ((0, 1), ("MEGa", "Full batch"), 3)
    assert chosen.only_last == ("Full batch",) and (base, quiz, dtype) == (None, "built-in", None)
    assert "is finished; nothing is left to do" in say("run", "main", *where).stdout
    assert "2/2" in say("runs", *where).stdout
    assert "embedding-layers" in say("runs", "--experiments").stdout
    wrong = say("run", "main", "--job", "memory", *where)
    assert wrong.exit_code == 2 and "--job takes NAME=VALUE" in wrong.stderr

    monkeypatch.setattr("memsci.runs.report.draw", lambda run, out, size: [out / run.name])
    assert say("figures", "fake", "--to", tmp_path, *where).stdout == f"{tmp_path / prepared.folder.name}\n"
    scored = []
    monkeypatch.setattr(runs, "score", lambda path, judges: scored.append((path, judges)))
    assert say("score", "fake", *where).exit_code == 0 and scored == [(prepared.folder, [])]


@pytest.mark.parametrize(
    "words",
    [
        "main",
        "main --dataset episodic --partitions 0-4,7 --set autocast=true",
        "main --dataset {table} --partitions 1 --methods 'MEGa,Full batch' --stops 1,5 --memories 5 --seed 2",
        "rank --dataset semantic --set lr=0.001 --set 'where=all' --base fake --dtype bfloat16",
    ],
)
def test_a_run_says_by_which_command_it_is_made(words, table, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from memsci.cli import main as cli
    from memsci.models.base import SHIPPED

    def prepare(chosen, base, seed, folder, quiz, dtype):
        about = BASE | {"name": base or SHIPPED, "dtype": dtype or "float32"}
        found.append(runs.lay_out(chosen, about, chosen.tasks(lambda *_: {}), seed, tmp_path / "runs").begin().folder)
        raise MemsciError("far enough")

    found = []
    monkeypatch.setattr(runs, "prepare", prepare)
    monkeypatch.chdir(tmp_path)
    given = shlex.split(f"memsci run {words}".format(table=table.name))
    assert CliRunner().invoke(cli.app, given[1:]).exit_code
    told = shlex.split(runs.command(found[0]))
    assert sorted(told) == sorted(given)
    CliRunner().invoke(cli.app, told[1:])
    assert found[1] == found[0]


def test_what_is_shipped_of_a_run_draws_its_figures(table, marks, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: "a" * 40)
    prepared = fakework.prepare(table, tmp_path / "runs", partitions=(0, 1))
    out = tmp_path / "out" / "a-name-of-its-own"
    with pytest.raises(MemsciError, match="is begun. Only a finished run is published"):
        runs.publish(prepared.folder, out)
    folder = in_this_process(prepared)
    shipped = runs.publish(folder, out)
    assert {path.name for path in out.iterdir()} == {path.name for path in shipped}
    assert (out / "curves.csv").read_bytes() == (folder / "curves.csv").read_bytes()
    values = files.table(out, "partitions")
    assert files.csv(curves(values)) == (out / "curves.csv").read_bytes()
    assert values["partition"].unique().tolist() == [0, 1]
    about = read_json(out / "run.json")
    assert not {"machine", "failed", "commit"} & about.keys() and about["commits"] == ["a" * 40]
    assert about["protocol"].keys() == set(values["metric"]) and about["datasets"] == [Path(table).name]
    assert str(tmp_path) not in "".join((out / name).read_text("utf-8") for name in ("run.json", "config.json"))
    some = draw(out, tmp_path / "again", names=["bars_qa", "first-memory_logprob"])
    again = {path.name: path.read_bytes() for path in some}
    assert again and all((out / name).read_bytes() == content for name, content in again.items())


def test_only_what_was_made_by_committed_code_of_this_version_is_shipped(table, marks, tmp_path, monkeypatch):
    monkeypatch.setattr("memsci.runs.report.draw", lambda folder, out: [])  # no figures: they are tested above
    monkeypatch.setattr(provenance, "commit", lambda: "b" * 40 + "+")
    changed = in_this_process(fakework.prepare(table, tmp_path / "runs", partitions=(0,)))
    with pytest.raises(MemsciError, match=r"uncommitted changes \(b{40}\+\). Commit them, and run"):
        runs.publish(changed, tmp_path / "out")
    # Whoever takes such cells over cannot ship them either, though his own code is clean.
    monkeypatch.setattr(provenance, "commit", lambda: "a" * 40)
    more = fakework.prepare(table, tmp_path / "runs", partitions=(0, 1))
    for job in more.jobs:
        assert files.borrow(more.folder, job.id, score_cell) or work(job).status == "done"
    runs.finish(more.folder)
    with pytest.raises(MemsciError, match="uncommitted changes"):
        runs.publish(more.folder, tmp_path / "out")
    clean = in_this_process(fakework.prepare(table, tmp_path / "elsewhere", partitions=(0,)))
    assert runs.publish(clean, tmp_path / "out")
    about = read_json(tmp_path / "out" / "run.json")
    assert about["commits"] == ["a" * 40] and about["processor_seconds"] is not None
    # The same holds for code that scores anew.
    monkeypatch.setattr(provenance, "commit", lambda: "c" * 40 + "+")
    runs.score(clean)
    with pytest.raises(MemsciError, match=r"uncommitted changes \(c{40}\+\)"):
        runs.publish(clean, tmp_path / "out")
    monkeypatch.setattr(provenance, "commit", lambda: "c" * 40)
    runs.score(clean)
    runs.publish(clean, tmp_path / "out")
    assert read_json(tmp_path / "out" / "run.json")["commits"] == ["a" * 40, "c" * 40]

    write_json(changed / "config.json", read_json(changed / "config.json") | {"version": files.VERSION - 1})
    with pytest.raises(MemsciError, match=f"version {files.VERSION - 1}; this memsci makes version {files.VERSION}"):
        runs.publish(changed, tmp_path / "out")


def test_confusions_put_together_are_those_of_the_first_partition():
    one = lambda dataset, partition: pd.DataFrame(
        {"dataset": dataset, "partition": partition, "memory_id": ["a", "b"], "top_id": "a", "share": [1.0, 0.5]}
    )
    found = together([pd.concat([one("x", 3), one("y", 1)]), pd.concat([one("x", 0), one("y", 2)])])
    assert found.groupby("dataset")["partition"].unique().map(list).to_dict() == {"x": [0], "y": [1]} and len(found) == 4


def shipped_content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "run.json"}


def test_runs_of_other_partitions_are_added_as_if_they_had_been_one(table, marks, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "commit", lambda: "a" * 40)
    other = tmp_path / "other.csv"
    pd.DataFrame({"text": [f"On day {k} nobody came." for k in range(120)]}).to_csv(other, index=False)
    run = lambda **what: in_this_process(fakework.prepare(table, tmp_path / "runs", **what))
    whole = run(partitions=(0, 1, 2), datasets=(str(table), str(other)))
    runs.publish(whole, tmp_path / "whole")
    out = tmp_path / "out"
    both = (str(table), str(other))
    runs.publish(run(partitions=(2,), datasets=both), out)
    runs.publish(run(partitions=(0,), datasets=(str(table),)), out, add=True)
    assert read_json(out / "run.json")["partitions"] == "mine.csv 0,2; other.csv 2"
    monkeypatch.setattr(provenance, "commit", lambda: "b" * 40)
    last = in_this_process(fakework.prepare(table, tmp_path / "later", partitions=(0,), datasets=(str(other),)))
    earlier = read_json(out / "run.json") | {"begun": "2026-01-01T00:00:00+00:00", "seconds": 1000.0}
    write_json(out / "run.json", earlier)
    runs.publish(last, out, add=True)
    runs.publish(run(partitions=(1,), datasets=both), out, add=True)
    assert shipped_content(out) == shipped_content(tmp_path / "whole")
    apart = tmp_path / "apart"
    runs.publish(run(partitions=(0, 1, 2), datasets=both[:1]), apart)
    runs.publish(run(partitions=(0, 1, 2), datasets=both[1:]), apart, add=True)
    assert shipped_content(apart) == shipped_content(out)
    about, undivided = (read_json(path / "run.json") for path in (out, tmp_path / "whole"))
    assert about["commits"] == ["a" * 40, "b" * 40] and len(about["cells"]) == 12
    assert {cell["id"] for cell in about["cells"]} == {cell["id"] for cell in undivided["cells"]}
    for name in ("partitions", "datasets", "data", "versions", "protocol", "seed", "base"):
        assert about[name] == undivided[name], name
    assert about["begun"] == "2026-01-01T00:00:00+00:00" and 1000 <= about["seconds"] < 1060

    before = {path.name: path.read_bytes() for path in out.iterdir()}
    refused = lambda match, **what: (
        pytest.raises(MemsciError, match=match),
        lambda: runs.publish(run(**{"partitions": (1,), **what}), out, add=True),
    )
    for expected, act in (
        refused("has mine.csv 1 already"),
        refused(r"its experiment.stops is \[1, 2\], here it is \[1\]", stops=(1,)),
        refused("its experiment.common is nothing, here it is rank=2", common="rank=2"),
    ):
        with expected:
            act()
    with pytest.raises(MemsciError, match="Is .*nowhere the folder of a run"):
        runs.publish(whole, tmp_path / "nowhere", add=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
