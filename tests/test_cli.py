"""The command-line program: what reaches the Python interface, what is printed, how errors end."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import typer
from conftest import random_adapter
from rich.console import Console
from typer.testing import CliRunner

import memsci
from memsci.cli import main as cli
from memsci.cli import terminal
from memsci.models import conversation
from memsci.models.sites import targets
from memsci.store.store import Remembered, Store


def run(*arguments: object, **options):
    """Run the program in this process, in a terminal wide enough for its tables."""
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "200"}, **options)


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setattr(terminal, "out", Console(highlight=False, width=200))


@pytest.fixture
def store(tmp_path, model):
    """A store of three memories; the label of the last looks like markup."""
    made = Store.create(
        tmp_path / "store",
        {"base": {"name": "tiny", "fingerprint": "f" * 64}, "encoding": memsci.Encoding.embedded().to_dict()},
    )
    for index, label in enumerate(("The letter", "The kite", "[bold]The show[/bold]")):
        record = Remembered(f"m{index}", label, torch.ones(4), "0" * 64, seed=0, losses=(2.0, 0.125))
        made.add(record, random_adapter(model, targets(model)))
    return made.path


class Mind:
    """Notes what it is asked."""

    def __init__(self):
        self.calls, self.rule = [], memsci.GateRule()

    def __len__(self):
        return 3

    def answer(self, questions, **options):
        self.calls.append(("answer", questions, options, self.rule.beta))
        return ["By [Ada] Venn." if question == "Who wrote it?" else f"{question} Yes.\nSo." for question in questions]

    def recall(self, cues, **options):
        self.calls.append(("recall", cues, options, self.rule.beta))
        return ["On 3 May, " + "a very long story went on, " * 20] * len(cues)

    def closed(self, questions, recalling=False):
        return [question.endswith("where?") for question in questions]

    def gate(self, query):
        self.calls.append(("gate", query, self.rule))
        rows = [(query, f"m{i}", f"label {i}", float(i), w, r) for i, w, r in [(0, 0.1, 3), (1, 0.7, 1), (2, 0.2, 2)]]
        table = pd.DataFrame(rows, columns="query id label score weight rank".split())
        return SimpleNamespace(frame=lambda: table, closed=torch.tensor([False]))


@pytest.fixture
def mind(monkeypatch):
    mind = Mind()
    monkeypatch.setattr(memsci, "load", lambda name=None: f"base {name}")
    monkeypatch.setattr("memsci.models.gguf.smollm2", lambda: None)
    opened = lambda path, base=None: mind.calls.append((str(path), base)) or mind
    monkeypatch.setattr(memsci, "open", opened)
    return mind


def test_help_names_every_command_and_version_is_the_packages():
    shown = run("--help").output
    commands = ("demo", "encode", "update", "ask", "recall", "test", "gate", "forget", "info")
    assert all(f"\n  {command} " in shown for command in commands)
    assert run("--version").output == f"memsci {memsci.__version__}\n"


def test_every_help_has_examples_that_the_program_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = typer.main.get_command(cli.app)
    assert len(cli.EXAMPLES) == len(program.commands)
    for lines in cli.EXAMPLES.values():
        for line in lines:
            name, *words = shlex.split(line.partition(" < ")[0])[1:]
            assert f"\n    {line}\n" in run(name, "--help").output
            program.commands[name].make_context(name, words).close()  # refuses what it does not know


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["info", "stroe"], "store"),
        (["forget", "store", "m00", "--yes"], "m0"),
        (["test", "store", "--method", "Mega"], "MEGa"),
        (["run", "mian", "--plan"], "main"),
        (["run", "main", "--plan", "--methods", "Full+EWX"], "Full+EWC"),
        (["run", "main", "--plan", "--dataset", "episodc"], "episodic"),
        (["run", "main", "--plan", "--cluster", "slrum"], "slurm"),
        (["figures", "main-0124", "--folder", "runs"], "main-0123"),
        (["enocde"], "encode"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(store, tmp_path, monkeypatch, words, meant):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "main-0123").mkdir(parents=True)
    (tmp_path / "runs" / "main-0123" / "run.json").write_text("{}")
    result = run(*words)
    assert result.exit_code == 2 and f"Did you mean '{meant}'" in result.stderr


def test_stopping_says_what_is_kept_and_that_the_command_goes_on(base, tmp_path, monkeypatch):
    monkeypatch.setattr(memsci, "load", lambda name=None: base)
    table, store = tmp_path / "memories.csv", tmp_path / "store"
    table.write_text("text,id\nNora hid the letter.,nora\nAda flew the kite.,ada\nOmar sang.,omar\n")
    add = Store.add

    def stop_after_one(store, *given):
        if len(store):
            raise KeyboardInterrupt
        return add(store, *given)

    monkeypatch.setattr(Store, "add", stop_after_one)
    words = ("encode", table, "--store", store, "--base", "tiny", "--rank", "2", "--epochs", "1")
    result = run(*words)
    assert result.exit_code == 130 and "Stopped, 1 of 3 kept in" in result.stderr and "goes on" in result.stderr
    monkeypatch.setattr(Store, "add", add)
    result = run(*words)
    assert result.exit_code == 0 and "1 of 3 memories are in" in result.stderr and "2 memories encoded" in result.stdout


def test_a_run_says_what_is_there_and_what_was_kept(monkeypatch, tmp_path):
    from memsci import runs

    prepared = SimpleNamespace(folder=tmp_path / "main-01", left=[1, 2], jobs=[0, 1, 2])
    monkeypatch.setattr(runs, "choose", lambda *what: SimpleNamespace(base=None, datasets=()))
    monkeypatch.setattr(runs, "prepare", lambda *what: prepared)
    monkeypatch.setattr(runs, "status", lambda folder: "unfinished")

    def run_one(*given):
        prepared.left.pop()
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run", run_one)
    result = run("run", "main")
    assert result.exit_code == 130 and "1 of 3 cells are finished already" in result.stderr
    assert "Stopped, 2 of 3 cells kept in" in result.stderr
    monkeypatch.setattr(runs, "choose", run_one)
    assert run("run", "main").exit_code == 130


def test_warnings_of_ours_are_lines_and_others_are_not_shown(mind, monkeypatch):
    def gate(query):
        warnings.warn("2 recalls were cut.", stacklevel=1)
        warnings.warn("old", FutureWarning, stacklevel=1)
        return Mind.gate(mind, query)

    monkeypatch.setattr(mind, "gate", gate)
    assert run("gate", "there", "Who?").stderr == "Note: 2 recalls were cut.\n"


def test_an_error_is_one_red_line_and_status_2(tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "err", Console(stderr=True, force_terminal=True, color_system="standard", width=40))
    result = run("info", tmp_path / "no[where]")
    assert result.exit_code == 2
    assert result.stderr.startswith("\x1b[31mError: ") and "no[where] is not a store" in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_the_program_itself_shows_no_traceback():
    command = [sys.executable, "-m", "memsci", "ask", "there", "Who?"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ") and "Traceback" not in done.stderr


def test_no_message_that_reaches_the_terminal_names_a_python_function():
    """All messages of the rooms below the command line, but for those that only somebody in Python can meet."""
    package = Path(memsci.__file__).parent
    in_python = ("memory.py", "widgets/", "figures/", "pretraining/", "world/", "models/generate.py", "measures/judges.py",
                 "adapters/peft_format.py", "gate/embed.py", "learners/base.py:true_gate",
                 "learners/base.py:check_base", "learners/base.py:check_gate", "learners/mega.py:gate",
                 "lifetime/transfer.py:sleep",
                 "data/tables.py:_frame", "phenomena/")  # fmt: skip
    call = re.compile(r"\b[A-Za-z_][\w.]*\(|\b(?:memsci|store|mind|Store)\.[a-z_]+\b(?!\.toml)")
    found = []
    for file in package.rglob("*.py"):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            where = f"{file.relative_to(package).as_posix()}:{getattr(function, 'name', '')}"
            if not isinstance(function, ast.FunctionDef) or where.startswith(in_python):
                continue
            for raised in ast.walk(function):
                name = ast.unparse(raised.func).rpartition(".")[2] if isinstance(raised, ast.Call) else ""
                if name in ("MemsciError", "Failed", "damage", "warn", "BadParameter"):
                    texts = [one.value for one in ast.walk(raised) if isinstance(one, ast.Constant)]
                    found += [(where, text) for text in texts if isinstance(text, str) and call.search(text)]
    assert found == []
    assert cli.in_options("Give sep=';', or dtype='x'.") == "Give --sep ';', or --dtype 'x'."
    said = cli.in_options("say so (columns={'Frage': 'question', 'Antwort 2': 'answer_2'}); or put: again=True.")
    assert said == "say so (--column 'Frage=question' --column 'Antwort 2=answer_2'); or put: --again."


def test_errors_of_another_kind_are_not_hidden(store, monkeypatch):
    def fail(path):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("memsci.store.store.Store", fail)
    assert isinstance(run("info", store).exception, RuntimeError)


def test_info_shows_the_memories_as_they_are(store):
    result = run("info", store)
    assert result.exit_code == 0, result.output
    assert "3 memories" in result.stdout and "0.125" in result.stdout
    assert "[bold]The show[/bold]" in result.stdout
    assert "Base model: tiny (fingerprint ffffffffffff)" in result.stdout
    assert "rank 32" in result.stdout


def test_info_without_a_store_names_the_versions():
    shown = run("info").stdout
    assert memsci.__version__ in shown and torch.__version__ in shown


def test_info_of_a_base_shows_what_can_carry_adapters(base, monkeypatch):
    monkeypatch.setattr(memsci, "load", lambda name: base)
    result = run("info", "--base", "tiny")
    assert result.exit_code == 0, result.output
    assert all(shown in result.stdout for shown in ("Parts of tiny", "mlp", "attention", "q_proj", "down_proj"))


def test_what_the_terminal_cannot_show_is_replaced(tmp_path, model):
    about = {"base": {"name": "tiny", "fingerprint": "f" * 64}, "encoding": memsci.Encoding.embedded().to_dict()}
    made = Store.create(tmp_path / "store", about)
    made.add(Remembered("m", "העפיפון 🪁", torch.ones(4), "0" * 64, 0, (1.0,)), random_adapter(model, targets(model)))
    for encoding in ("cp1252", "ascii"):
        command = [sys.executable, "-m", "memsci", "info", str(made.path)]
        done = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True)
        assert done.returncode == 0 and b"?" in done.stdout and b"1 memory" in done.stdout, done.stderr


def test_the_home_is_expanded_and_a_file_is_no_folder(store, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path)), monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert "3 memories" in run("info", "~/store").stdout
    (tmp_path / "runs" / "main-0123").mkdir(parents=True)
    assert "Runs in" in run("runs", "--folder=~/runs").stdout
    file = tmp_path / "file"
    file.write_text("")
    for words in (
        ["run", "main", "--folder", file],
        ["runs", "--folder", file / "below"],
        ["figures", "main", "--to", file],
        ["encode", "memories.csv", "--store", file],
        ["publish", "main", file],
        ["harness", "--to", file / "table.csv"],
    ):
        result = run(*words)
        assert result.exit_code == 2 and "is a file" in result.stderr, words
    assert "is a folder" in run("encode", tmp_path, "--store", store).stderr


def test_values_of_a_batch_job_are_text_unless_they_are_numbers(monkeypatch, tmp_path):
    from memsci import runs

    given = []
    prepared = SimpleNamespace(folder=tmp_path, left=[1], jobs=[1])
    monkeypatch.setattr(runs, "choose", lambda *what: SimpleNamespace(base=None, datasets=()))
    monkeypatch.setattr(runs, "prepare", lambda *what: prepared)
    monkeypatch.setattr(runs, "status", lambda folder: "new")
    monkeypatch.setattr(runs, "run", lambda *what: given.append(what[-1]) or tmp_path)
    asked = ("account=00123", "queue=5", "cores=4", "job_extra_directives=-x", "job_extra_directives=--gres=gpu:1")
    queue = ("--cluster", "slurm", "--processes", "1")
    assert run("run", "main", *queue, *(word for one in asked for word in ("--job", one))).exit_code == 0
    assert given == [{"account": "00123", "queue": "5", "cores": 4, "job_extra_directives": ["-x", "--gres=gpu:1"]}]
    twice = run("run", "main", "--job", "queue=a", "--job", "queue=b")
    assert twice.exit_code == 2 and "queue was given twice" in twice.stderr and len(given) == 1


def test_probe_serves_a_store_and_opens_its_address(monkeypatch):
    import webbrowser

    from memsci.widgets import serve

    served, opened = [], []
    address = "http://127.0.0.1:4711/?token=a-long-one"
    monkeypatch.setattr(serve, "serve", lambda *given: served.append(given[:-1]) or given[-1](address))
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address))
    result = run("probe", "there", "--port", 4711, "--token", "a-long-one", "--no-browser")
    assert result.exit_code == 0 and address in result.stdout and opened == []
    assert [str(value) for value in served.pop()] == ["there", "None", "4711", "a-long-one"]
    monkeypatch.setattr("threading.Thread.start", lambda thread: thread.run())
    assert run("probe").exit_code == 0
    assert served == [(None, None, 0, None)] and opened == [address]


def test_forget_asks_first(store):
    assert run("forget", store, "m1", input="n\n").exit_code == 1
    assert Store(store).ids == ("m0", "m1", "m2")
    result = run("forget", store, "m1", input="y\n")
    assert result.exit_code == 0 and "left: 2 memories" in result.stdout
    assert Store(store).ids == ("m0", "m2")


def test_forget_of_an_unknown_memory_changes_nothing(store):
    result = run("forget", store, "m9", "--yes")
    assert result.exit_code == 2 and "'m9'" in result.stderr
    assert len(Store(store)) == 3


def test_update_puts_a_text_in_the_place_of_another_and_info_shows_what_corrects_what(base, tmp_path, monkeypatch):
    monkeypatch.setattr(memsci, "load", lambda name=None: base)
    table, store = tmp_path / "memories.csv", tmp_path / "store"
    table.write_text("id,text,corrects\nada,Ada sang.,\nben,Ben slept.,\nada-2,Ada sang twice.,ada\n")
    assert run("encode", table, "--store", store, "--base", "tiny", "--epochs", 1).exit_code == 0
    result = run("update", store, "ben", "Ben woke.", "--question", "Who woke?", "--answer", "Ben", "--base", "tiny")
    assert result.exit_code == 0 and "ben has its new text" in result.output
    records = Store(store).records
    assert [one.id for one in records] == ["ada", "ben", "ada-2"] and records[1].questions[0].answer == "Ben"
    assert records[1].label == "Ben woke." and Store(store).corrections == {"ada-2": ("ada",)}
    shown = run("info", store).output
    assert "corrects" in shown and re.search(r"ada-2 .* ada\s", shown)
    result = run("update", store, "zoe", "Zoe ran.", "--base", "tiny")
    assert result.exit_code == 2 and "no memory 'zoe'" in result.stderr
    result = run("update", store, "ben", "Ben ran.", "--question", "Who?")
    assert result.exit_code == 2 and "give one --answer for each --question" in result.stderr


def test_ask_prints_the_reply_alone(mind):
    result = run("ask", "there", "Who wrote it?")
    assert result.stdout == "By [Ada] Venn.\n"
    assert mind.calls == [("there", None), ("answer", ["Who wrote it?"], {"via_recall": False, "in_parts": False}, 1.0)]


@pytest.mark.parametrize("command", ["ask", "recall"])
def test_a_closed_gate_is_told_of_beside_the_reply(mind, command):
    result = run(command, "there", "Who wrote it?", "Some where?")
    assert result.exit_code == 0 and result.stdout.count("\n") == 2
    assert result.stderr == "The gate is closed to 'Some where?': no memory is like it, and the base speaks alone.\n"
    result = run(command, "there", "Some where?", "--unknown", "No idea.")
    assert result.stderr == "" and mind.calls[-1][2]["unknown"] == "No idea."


def test_ask_by_way_of_the_recall(mind):
    run("ask", "there", "Who wrote it?", "--via-recall", "--beta", "inf", "--base", "some/model")
    assert mind.calls == [
        ("there", "base some/model"),
        ("answer", ["Who wrote it?"], {"via_recall": True, "in_parts": False}, math.inf),
    ]


@pytest.mark.parametrize(("given", "k"), [("3", 3), ("0.9", 0.9)])
def test_several_memories_are_recalled_for_an_answer(mind, given, k):
    assert run("ask", "there", "Who wrote it, and what else?", "--via-recall", "--k", given, "--in-parts").exit_code == 0
    assert mind.rule.k == k and type(mind.rule.k) is type(k)
    assert mind.calls[1][2] == {"via_recall": True, "in_parts": True}
    assert run("recall", "there", "Who wrote it?", "--k", given).exit_code == 0 and mind.rule.k == k


def test_what_no_number_of_recalls_is_is_refused_before_a_model_is_loaded(mind):
    result = run("ask", "there", "Who wrote it?", "--k", "2")
    assert result.exit_code == 2 and "together with --via-recall" in result.stderr
    for k in ("0", "-2", "1.5"):
        result = run("ask", "there", "Who wrote it?", "--via-recall", "--k", k)
        assert result.exit_code == 2 and "--k must be a whole number from 1 up" in " ".join(result.stderr.split())
    assert not mind.calls


def test_several_questions_also_from_the_standard_input_are_asked_at_once(mind):
    result = run("ask", "there", "Who?", "-", "And now?", input="\n Where? \nWhen?\n\n")
    assert mind.calls[1][1] == ["Who?", "Where?", "When?", "And now?"]
    assert result.stdout.splitlines() == ["Who? Yes. So.", "Where? Yes. So.", "When? Yes. So.", "And now? Yes. So."]


def test_of_many_questions_each_batch_is_told_when_it_is_answered(mind):
    from memsci.models.conversation import BATCH

    result = run("ask", "there", "-", input="".join(f"{k}?\n" for k in range(BATCH + 3)))
    assert [len(call[1]) for call in mind.calls[1:]] == [BATCH, 3]
    assert len(result.stdout.splitlines()) == BATCH + 3 and f"{BATCH} of {BATCH + 3}" in result.stderr


def test_no_question_is_refused_before_the_store_is_opened(mind):
    for command in ("ask", "recall"):
        result = run(command, "there", "-", input=" \n")
        assert result.exit_code == 2 and "No question was given" in result.stderr
    assert mind.calls == []


def test_on_a_terminal_each_reply_stands_below_its_question(mind, monkeypatch):
    monkeypatch.setattr(terminal, "out", Console(highlight=False, width=200, force_terminal=True, color_system=None))
    shown = run("ask", "there", "Who?", "Where?").stdout.splitlines()
    assert shown == ["Who?", "Who? Yes. So.", "Where?", "Where? Yes. So."]
    assert run("ask", "there", "Who wrote it?").stdout == "By [Ada] Venn.\n"


def test_recall_is_one_line_however_long(mind):
    result = run("recall", "there", "the letter", "--beta", "0.1", "--tokens", "300")
    assert len(result.stdout.splitlines()) == 1 and len(result.stdout) > 500
    assert mind.calls[1] == ("recall", ["the letter"], {"max_new_tokens": 300}, 0.1)
    run("recall", "there", "the letter")
    assert mind.calls[3] == ("recall", ["the letter"], {"max_new_tokens": None}, 0.1)


@pytest.mark.parametrize("command", ["ask", "gate"])
def test_epsilon_changes_the_rule_and_nothing_else_of_it(mind, command):
    mind.rule = memsci.GateRule(beta=0.5, cue="prompt")
    assert run(command, "there", "Who wrote it?", "--epsilon", "0.01").exit_code == 0
    assert mind.rule == memsci.GateRule(beta=0.5, cue="prompt", epsilon=0.01)
    assert run(command, "there", "Who wrote it?", "--epsilon", "1").exit_code == 2


def test_harness_asks_the_base_or_a_store_and_keeps_the_table(mind, monkeypatch, tmp_path):
    from memsci.evaluate import harness

    asked = []

    def mmlu(learner, tasks, limit, **how):
        asked.append((learner.name, tasks, limit, how))
        return pd.DataFrame({"subject": ["law", "art"], "n": [10, 30], "correct": [5, 30], "accuracy": [0.5, 1.0]})

    monkeypatch.setattr(harness, "mmlu", mmlu)
    monkeypatch.setattr(memsci, "load", lambda name=None: SimpleNamespace(name=name))
    result = run("harness", "--tasks", "mmlu_law, mmlu_art", "--limit", "30", "--to", tmp_path / "new" / "table.csv")
    assert "Base: 75.0 % of 40 questions" in result.stdout
    assert asked == [("Base", ["mmlu_law", "mmlu_art"], 30, {"wording": "harness", "folder": None})]
    assert pd.read_csv(tmp_path / "new" / "table.csv")["correct"].tolist() == [5, 30]
    mind.base, mind.ids, mind.name = "base", ("m0",), "MEGa"
    assert "MEGa: 75.0 %" in run("harness", "there", "--wording", "paper").stdout
    assert asked[1] == ("MEGa", ["mmlu"], None, {"wording": "paper", "folder": None})


def test_publish_fills_a_folder(monkeypatch, tmp_path):
    from memsci import runs

    given = []
    monkeypatch.setattr(runs, "publish", lambda *what: given.append(what) or [what[1] / "run.json"])
    (tmp_path / "runs" / "main-0123").mkdir(parents=True)
    (tmp_path / "runs" / "main-0123" / "run.json").write_text("{}")
    result = run("publish", "main-01", tmp_path / "out", "--folder", tmp_path / "runs")
    assert result.exit_code == 0 and "1 files" in result.stdout
    run("publish", "main-01", tmp_path / "out", "--add", "--folder", tmp_path / "runs")
    what = (tmp_path / "runs" / "main-0123", tmp_path / "out")
    assert given == [(*what, False), (*what, True)]


def test_gate_shows_the_best_memories_first(mind):
    result = run("gate", "there", "Who wrote it?", "--top", "2", "--beta", "2")
    assert "2 of 3 memories" in result.stdout
    assert result.stdout.index("m1") < result.stdout.index("m2") and "m0" not in result.stdout
    assert mind.calls[1] == ("gate", "Who wrote it?", memsci.GateRule(beta=2.0))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], None),
        (["--preset", "paper"], {"rank": 128, "epochs": 10}),
        (["--rank", "2"], {"rank": 2, "epochs": 77}),
        (["--base", "some/model", "--epochs", "3", "--lr", "0.01"], {"rank": 5, "epochs": 3, "lr": 0.01}),
        (["--base", "some/model", "--preset", "paper", "--epochs", "3"], {"rank": 128, "epochs": 3}),
    ],
)
def test_encode_settings(mind, tmp_path, monkeypatch, options, expected):
    made = {}

    def mega(base, **settings):
        made.update(settings, base=base)
        encode = lambda memories: pd.DataFrame({"id": [m.id for m in memories], "loss": [0.25]})
        return SimpleNamespace(store=(), encode=encode)

    monkeypatch.setattr(memsci, "MEGa", mega)
    suited = memsci.Encoding(rank=5, epochs=77)
    monkeypatch.setattr(memsci.Encoding, "suited", lambda base, memories: suited)
    table = tmp_path / "memories.jsonl"
    table.write_text(json.dumps({"text": "Nora hid the letter in the piano.", "id": "nora"}) + "\n")
    result = run("encode", table, "--store", tmp_path / "store", "--seed", "7", *options)
    assert result.exit_code == 0, result.output
    assert "nora" in result.stdout and "0.25" in result.stdout
    assert (made["store"], made["seed"]) == (tmp_path / "store", 7)
    assert (made["keep_text"], made["keep_questions"]) == (False, True)
    assert made["base"] == ("base some/model" if "--base" in options else "base None")
    if expected is None:
        assert made["encoding"] is None
    else:
        assert {name: getattr(made["encoding"], name) for name in expected} == expected


@pytest.mark.parametrize("options", [["--rank", "0"], ["--lr", "-1"]])
def test_encode_refuses_impossible_settings(mind, tmp_path, options):
    table = tmp_path / "memories.csv"
    table.write_text("text\nNora hid the letter in the piano.\n")
    result = run("encode", table, "--store", tmp_path / "store", *options)
    assert result.exit_code == 2 and options[0].strip("-") in result.stderr


def test_demo_shows_the_material_asked_for(monkeypatch, tmp_path):
    from memsci import demo

    asked = []
    table = pd.DataFrame({"method": ["Base", "MEGa"], "QA": [0.02, 0.7256], "gate": [math.nan, 0.94]})
    gates = pd.DataFrame({"embedding": ["paper", "sentence"], "correct": [0.9, 0.98]})
    recalls = pd.DataFrame({"question": ["Who?"], "original": ["Ada sang."], "recalled": ["Ada sang [twice]."]})
    none = {"question": ["Why?"], "gate": ["closed"], "score": [0.1234], "limit": [0.25], "answer": ["No idea."]}
    made = {"demo": {"examples": recalls, "unanswered": pd.DataFrame(none)}, "demo_world": {"gates": gates}}
    monkeypatch.setattr(demo, "demo", lambda what, to: asked.append((what, to)) or {"summary": table} | made[what.name])
    result = run("demo", "--figures", tmp_path)
    assert result.exit_code == 0, result.output
    assert asked == [(demo.everyday(), tmp_path)]
    for shown in ("0.7256", "–", "Ada sang [twice].", "closed (score 0.12, it opens from 0.25)", "No idea."):
        assert shown in result.stdout
    assert "nan" not in result.stdout
    result = run("demo", "--world", "--setting", "semantic", "--partition", "3")
    assert "0.98" in result.stdout and asked[1][0].memories == memsci.data.builtin("semantic", 3)
    assert run("demo", "--world", "--partition", "20").exit_code == 2
    refused = run("demo", "--partition", "3")
    assert refused.exit_code == 2 and "add --world" in refused.stderr and len(asked) == 2


def test_tables_of_ones_own_go_to_the_stores_base_else_to_smollm2(base, tmp_path, monkeypatch):
    from memsci.models import gguf

    named = []
    monkeypatch.setattr(memsci, "load", lambda name=None: named.append(name) or base)
    monkeypatch.setattr("memsci.store.store.Store.load_base", lambda store: named.append("the store's") or base)
    table, store = tmp_path / "memories.csv", tmp_path / "store"
    table.write_text("text,id\nNora hid the letter.,nora\nAda flew the kite.,ada\n")
    few = ("--rank", "2", "--epochs", "1")
    monkeypatch.setattr(gguf, "smollm2", lambda: tmp_path / "weights.gguf")
    assert "shipped" not in run("encode", table, "--store", store, *few).stdout
    again = run("encode", table, "--store", store, *few, "--calibrate")
    assert again.exit_code == 0 and "closes" in again.stdout and Store(store).header["gate"]["closes"] > 0
    monkeypatch.setattr(gguf, "smollm2", lambda: None)
    said = run("encode", table, "--store", tmp_path / "other", *few).stdout.splitlines()[0]
    assert said.startswith("The shipped model") and gguf.SMOLLM2_PACKAGE in said
    assert run("encode", table, "--store", tmp_path / "third", *few, "--base", "some/model").exit_code == 0
    assert named == ["smollm2", "the store's", None, "some/model"]


def test_run_reads_a_table_as_it_is_told(tmp_path, monkeypatch):
    from memsci.memory import Memory

    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr("memsci.cli.experiments._plan", lambda experiment, *_: seen.append(experiment))
    rows = "text@rating@question@answer\nZoë sang.@1,5@Who sang?@Zoë\nTom ran.@2,0@Who ran?@Tom\n"
    Path("odd.csv").write_text(rows, encoding="cp1252")
    few = ("run", "main", "--plan", "--dataset", "odd.csv", "--partitions", "0")
    result = run(*few, "--sep", "@", "--encoding", "cp1252", "--decimal", ",")
    assert result.exit_code == 0, result.output
    assert {cell.dataset for cell in seen[0].cells()} == {"odd.jsonl"}
    read = memsci.data.table("runs/tables/odd.jsonl")
    assert [(one.text, one.extra["rating"]) for one in read] == [
        ("Zoë sang.", 1.5), ("Tom ran.", 2.0)]  # fmt: skip
    assert read[0] == Memory("Zoë sang.", questions=[("Who sang?", "Zoë")], extra={"rating": 1.5})
    assert "name one with --dataset" in run("run", "main", "--plan", "--sep", ";").stderr


def test_a_closed_gate_is_said(mind):
    rows = mind.gate("Who?").frame()
    mind.gate = lambda query: SimpleNamespace(frame=lambda: rows, closed=torch.tensor([query == "Why?"]))
    assert "The gate is closed" in run("gate", "there", "Why?").stdout
    assert "The gate is closed" not in run("gate", "there", "Who?").stdout


def test_from_table_to_answer_with_a_real_model(base, tmp_path, monkeypatch):
    monkeypatch.setattr(memsci, "load", lambda name=None: base)
    table, store = tmp_path / "memories.csv", tmp_path / "store"
    table.write_text("text,id\nNora hid the letter.,nora\nAda flew the kite.,ada\n")
    result = run("encode", table, "--store", store, "--rank", "2", "--epochs", "1")
    assert result.exit_code == 0, result.output
    assert set(Store(store).ids) == {"nora", "ada"}
    assert Store(store).header["encoding"]["rank"] == 2
    again = run("encode", table, "--store", store, "--rank", "2", "--epochs", "1", "--base", "tiny")
    assert again.exit_code == 0 and "0 memories encoded" in again.stdout
    assert f"2 of 2 memories are in {store} already; 0 to go" in again.stderr

    assert "keeps no questions" in run("test", store, "--base", "tiny").stderr
    asking, out = tmp_path / "asking.jsonl", tmp_path / "new" / "scores.csv"
    rows = [{"id": "nora", "text": "Nora hid the letter.", "questions": [["Who hid the letter?", "Nora"]]}]
    asking.write_text("\n".join(map(json.dumps, rows)))
    result = run("test", store, "--table", asking, "--base", "tiny", "--method", "MEGa,RAG", "--out", out)
    assert result.exit_code == 0 and "nora" in result.stdout and "1 memory, each counts alike" in result.stdout
    scores = pd.read_csv(out)
    assert scores["method"].tolist() == ["MEGa", "RAG"] and scores["qa"].isin([0, 1]).all()
    protocol = json.loads(out.with_suffix(".json").read_text())
    assert protocol["base"]["name"] == "tiny" and [one["questions"] for one in protocol["marks"]] == [1, 1]
    for change, says in ({"id": "nobody"}, "no memory 'nobody'"), ({"text": "Omar hid it."}, "has another text"):
        asking.write_text(json.dumps(rows[0] | change))
        assert says in run("test", store, "--table", asking, "--base", "tiny").stderr
    assert "one of 'MEGa', 'iRAG'" in run("test", store, "--method", "MEGa,Full").stderr
    kept = tmp_path / "kept"
    asking.write_text(json.dumps(rows[0]))
    result = run("encode", asking, "--store", kept, "--rank", "2", "--epochs", "1")
    assert result.exit_code == 0 and f"'memsci test {kept}' asks them" in result.stdout
    assert "Note: tiny answers 0 % of 1 questions with the right text before it" in result.stderr
    assert "tiny answers 0 of 1 questions with the right text" in result.stderr
    assert "iRAG" in run("test", kept, "--base", "tiny").stdout
    unasked = run("encode", asking, "--store", tmp_path / "without", "--rank", "2", "--epochs", "1", "--no-questions",
                  "--no-check")  # fmt: skip
    assert "tiny answers" not in unasked.stderr
    assert unasked.exit_code == 0 and "memsci test" not in unasked.stdout
    told = run("test", tmp_path / "without", "--base", "tiny").stderr
    assert "keeps no questions" in told and "'memsci questions" in told
    fragen = tmp_path / "fragen.csv"
    fragen.write_text("Kürzel;Frage;Antwort\nnora;Who hid it?;Nora\nnora;What was hidden?;the letter\n", "utf-8")
    ask = ("questions", tmp_path / "without", fragen)
    says = run(*ask).stderr
    assert says.count("--column") == 2 and "--column 'Frage=question' --column 'Antwort=answer'" in " ".join(says.split())
    meant = ("--column", "Frage=question", "--column", "Antwort=answer", "--column", "Kürzel=id")
    result = run(*ask, *meant)
    assert result.exit_code == 0 and "'memsci test" in result.stdout and "nora" in result.stdout
    assert run("test", tmp_path / "without", "--base", "tiny", "--method", "MEGa").exit_code == 0
    fragen.write_text("Kürzel;Frage;Antwort\nnora;Who hid it?;Omar\n", "utf-8")
    assert "--again" in run(*ask, *meant).stderr and run(*ask, *meant, "--again").exit_code == 0
    assert "--column takes NAME=MEANING" in run(*ask, "--column", "Frage").stderr

    table.write_text("id@text@question@answer@where\nnora@Nora hid the letter.@Who hid it?@Nora@in\n"
                     "nora@@What?@The letter@out\nada@Ada flew the kite.@Who flew?@Ada@out\n")  # fmt: skip
    few = ("test", store, "--table", table, "--base", "tiny", "--method", "MEGa")
    assert "--sep" in run(*few).stderr
    result = run(*few, "--sep", "@", "--by", "where", "--out", out)
    assert result.exit_code == 0 and "By where: memories, each counts alike" in result.stdout
    found = json.loads(out.with_suffix(".json").read_text())["marks by where"]
    assert [(one["where"], one["questions"], one["memories"]) for one in found] == [("in", 1, 1), ("out", 2, 2)]
    assert "Did you mean 'where'" in run(*few, "--sep", "@", "--by", "were").stderr
    assert "extra column. Leave --by out" in run("test", kept, "--base", "tiny", "--by", "where").stderr

    result = run("gate", store, "Where is the letter?", "--base", "tiny")
    assert result.exit_code == 0 and "nora" in result.stdout and "ada" in result.stdout
    result = run("gate", store, "Where is the letter?", "--base", "tiny", "--beta", "inf", "--epsilon", "0.1")
    assert "1 of 2 memories" in result.stdout  # the other was not even looked at
    mind = memsci.open(store, base=base)
    result = run("ask", store, "Where is the letter?", "--base", "tiny")
    assert result.exit_code == 0 and result.stdout.strip() == mind.answer("Where is the letter?").strip()

    assert run("forget", store, "ada", "--yes").exit_code == 0
    assert "1 memory," in run("info", store).stdout


def test_answers_are_not_written_where_the_settings_go(store, tmp_path):
    done = run("test", store, "--out", tmp_path / "answers.json")
    assert done.exit_code == 2 and "Name the table of the answers otherwise" in done.output
    (tmp_path / "answers.json").mkdir()
    done = run("test", store, "--out", tmp_path / "answers.csv")
    assert done.exit_code == 2 and "answers.json cannot be written (it is a folder)" in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", ""], "must be one of"),
        (["--partitions", ""], "Numbers are written like"),
        (["--stops", " "], "Numbers are written like"),
        (["--partitions", "0-99999999999"], "A range may have 100000 numbers at most"),
    ],
)
def test_an_option_that_says_nothing_does_not_stand_for_all(words, message):
    done = run("run", "main", "--plan", *words)
    assert done.exit_code == 2 and message in done.output


@pytest.mark.parametrize("cluster", [[], ["--cluster", "local"], ["--cluster", "tcp://127.0.0.1:1"]])
def test_what_a_batch_job_asks_for_needs_a_queue_of_batch_jobs(cluster):
    done = run("run", "main", "--job", "memory=1GB", *cluster)
    assert done.exit_code == 2 and "together with --cluster slurm, pbs, lsf" in done.output


def test_a_base_of_no_name_is_refused():
    done = run("info", "--base", "")
    assert done.exit_code == 2 and "The name of a model is empty" in done.output


def test_a_store_without_memories_is_told_of_once(tmp_path, monkeypatch):
    store = tmp_path / "empty"
    memsci.MEGa(memsci.load(), store=store)
    monkeypatch.setattr(conversation, "BATCH", 1)
    result = run("ask", str(store), "Who sang?", "Who ran?")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("No memory is in") == 1 and "gate is closed" not in result.stderr


def test_answers_that_recite_are_told_of():
    from memsci.cli.asking import _recited

    rows = [("a", "Who?", "MEGa", "Ada sang. It rained.", None), ("a", "Who?", "iRAG", "Ada.", "Ada sang. It rained."),
            ("b", "Why?", "MEGa", "For fun.", None), ("b", "Why?", "iRAG", "For fun.", "Ben ran, for fun.")]  # fmt: skip
    found = pd.DataFrame(rows, columns=["memory_id", "question", "method", "answer", "recalled"])
    assert _recited(found).startswith("1 of 2 direct answers recite the whole memory")
    assert _recited(found[found["memory_id"] == "b"]) == "" and _recited(found[found["method"] == "MEGa"]) == ""


def test_a_run_on_a_public_model_is_told_of_the_material_that_suits_it():
    words = ("--plan", "--partitions", "0", "--methods", "Base")
    assert (
        "interference_plain is the same in plain English" in run("run", "interference", "--base", "smollm2", *words).stderr
    )
    for few in (("interference",), ("interference_plain",)):
        assert "in plain English." not in run("run", *few, *words).stderr
