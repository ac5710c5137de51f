"""Any learner under lm-evaluation-harness: general knowledge by its tasks, MMLU with all 57 subjects first of all.

`as_lm` makes a learner a model of that package; `ask` and `mmlu` ask it and give tables of memsci. They need the extra
``harness``. The paper asks four subjects in words of its own (`memsci.evaluate.ask_quiz`), the harness in its own:
figures of the two wordings cannot be compared. ``wording="paper"`` asks the harness's data in the paper's words.

What opens the gates for such requests is *not stated in the paper*. Here it is the question of each request: the field
``question`` of the task's document if there is one, otherwise, and always with the gate rule's cue "prompt", the last
turn of the user (without a chat template the whole text). Each request is mixed by its own gate, whatever else is in its
batch.
"""

from __future__ import annotations

import difflib
import string
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from memsci import prompts
from memsci.errors import MemsciError, check_in, check_whole
from memsci.learners.base import Learner
from memsci.measures.metrics import METRICS
from memsci.models import generate
from memsci.models.base import batches
from memsci.models.conversation import BATCH
from memsci.models.template import PLAIN_TEMPLATE

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM

WORDINGS = ("harness", "paper")
LETTERS = string.ascii_uppercase  # that options can be named by
REPLY_TOKENS = 256  # longest reply where a task does not say: as in lm_eval's own models
EXAMPLE_SEED = 1234  # of the choice of examples, for tasks that draw them: lm_eval's own default
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # names for one thing, best first


class _Chat(str):
    """A conversation as lm_eval hands it on: the text that its template makes, with the messages that it was made of.

    The tokens come from the messages, so that no text of a task can forge a turn; the text is for logs.
    """

    messages: prompts.Messages

    def __new__(cls, text: str, messages: prompts.Messages) -> _Chat:
        self = super().__new__(cls, text)
        self.messages = messages
        return self


@dataclass(frozen=True)
class _Row:
    """One pass of the model: a prompt, what opens the gates to it, and all but the last token of what is to be weighed."""

    question: str
    turn: str
    prompt: tuple[int, ...]
    head: tuple[int, ...] = ()


class _Model:
    """The part of `as_lm` that needs no lm_eval; its methods are those of ``lm_eval.api.model.LM``."""

    def __init__(self, learner: Learner, batch_size: int, cut: bool) -> None:
        super().__init__()
        self._learner, self._batch_size, self._cut = learner, batch_size, cut

    def loglikelihood(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log probability of each continuation, and whether it is the greedy one; those of one context that differ in their
        last token alone, such as letters, share one pass."""
        asked: dict[_Row, list[tuple[int, list[int]]]] = defaultdict(list)
        for k, request in enumerate(requests):
            context, continuation = request.args
            prompt, target = self._pair(context, continuation)
            prompt = self._fitted(prompt, len(target) - 1)
            asked[_Row(*_cues(request), tuple(prompt), tuple(target[:-1]))].append((k, target))
        rows = list(asked)
        results: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        run = lambda group: generate.weigh(
            self._learner.base, [rows[i].prompt for i in group], [[target for _, target in asked[rows[i]]] for i in group]
        )
        for i, weighed in self._run(rows, run, "weighing", disable_tqdm):
            for (k, _), weight in zip(asked[rows[i]], weighed, strict=True):
                results[k] = weight
        return results

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Not offered: MemsciError."""
        raise MemsciError(
            "Perplexity of whole texts (loglikelihood_rolling) cannot be asked of a learner: such a text has no question, "
            "so nothing says which memories it should open. Leave out tasks with output_type loglikelihood_rolling."
        )

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy replies, up to the first of the task's stop strings; white space at their ends is not kept."""
        replies = [""] * len(requests)
        by_length: dict[int, list[tuple[int, _Row, list[str]]]] = defaultdict(list)
        for k, request in enumerate(requests):
            context, settings = request.args
            most, stops = _reply_settings(settings)
            prompt = self._fitted(self._prompt(context), most)
            by_length[most].append((k, _Row(*_cues(request), tuple(prompt)), stops))
        for most, several in by_length.items():
            rows = [row for _, row, _ in several]
            run = lambda group: generate.generate(self._learner.base, [rows[i].prompt for i in group], most)  # noqa: B023
            for i, reply in self._run(rows, run, "answering", disable_tqdm):
                k, _, stops = several[i]
                replies[k] = reply[: min([reply.find(stop) for stop in stops if stop in reply], default=None)]
        return replies

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation, ready for the model to speak next; a last turn of the assistant is continued, whatever
        `add_generation_prompt` says."""
        base = self._learner.base
        return _Chat(base.tokenizer.decode(base.chat(chat_history)), list(chat_history))

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The template that conversations are written with, for lm_eval's logs."""
        return self._learner.base.tokenizer.chat_template or PLAIN_TEMPLATE

    @property
    def tokenizer_name(self) -> str:
        """The name of the base, by which lm_eval keeps requests apart that it stores."""
        return self._learner.base.name

    def _prompt(self, context: str) -> list[int]:
        base = self._learner.base
        if isinstance(context, _Chat):
            return base.chat(context.messages)
        return base.tokens(context) or list(base.stop_ids[:1])  # an empty text, and a tokenizer without BOS

    def _pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Token ids of a context, and those that the continuation adds to it."""
        base = self._learner.base
        if not isinstance(context, _Chat):
            # As in lm_eval: a word is written with the space before it, wherever the task has put that space.
            text = context.rstrip()
            whole = base.tokens(context + continuation)
            prompt = self._prompt(text)
            target = whole[len(prompt) if text else len(base.tokens("")) :]
        elif context.messages[-1]["role"] == "assistant":
            *before, last = context.messages
            prompt = base.chat(context.messages)
            target = base.chat([*before, {**last, "content": last["content"] + continuation}])[len(prompt) :]
        else:
            prompt = base.chat(context.messages)
            # The plain conversation of models without a template puts a space before each turn itself.
            reply = continuation if base.tokenizer.chat_template else continuation.removeprefix(" ")
            target = base.reply(reply, end=False)
        if not target:
            raise MemsciError(
                f"The continuation {continuation!r} adds no token to its context, which ends in {context[-40:]!r}. Give the "
                "task options that begin with a word of their own."
            )
        return prompt, target

    def _fitted(self, prompt: list[int], more: int) -> list[int]:
        """The prompt, cut at its start if that is allowed and there is no room for it and so many tokens more."""
        base = self._learner.base
        room = base.max_length - more
        if len(prompt) <= room:
            return prompt
        if not self._cut or room < 1:
            raise MemsciError(
                f"A request takes {len(prompt)} tokens with {more} more; {base.name} reads at most {base.max_length}. Leave "
                "the task out, give fewer examples (num_fewshot), or let long contexts be cut at their start (cut)."
            )
        return prompt[-room:]

    def _run(
        self, rows: Sequence[_Row], run: Callable[[list[int]], list], desc: str, quiet: bool
    ) -> Iterator[tuple[int, Any]]:
        """Number and result of each row; rows of like length run together, each under a gate of its own."""
        turns = [[{"role": "user", "content": row.turn}] for row in rows]
        within = self._learner.within([row.question for row in rows], turns)
        lengths = [len(row.prompt) + len(row.head) for row in rows]
        with tqdm(total=len(rows), desc=f"{desc}, {self._learner.name}", unit="prompt", disable=quiet) as bar:
            for group in batches(lengths, self._batch_size):
                with within(group):
                    results = run(group)
                yield from zip(group, results, strict=True)
                bar.update(len(group))


def _cues(request: Instance) -> tuple[str, str]:
    """The question of a request, and the last turn of the user."""
    context = request.args[0]
    turn = str(context)
    if isinstance(context, _Chat):
        turn = next(message["content"] for message in reversed(context.messages) if message["role"] == "user")
    question = request.doc.get("question") if isinstance(request.doc, Mapping) else None
    return (question if isinstance(question, str) and question.strip() else turn), turn


def _reply_settings(settings: Mapping[str, Any]) -> tuple[int, list[str]]:
    """The longest reply in tokens, and the strings that end one, of a task's ``generation_kwargs``."""
    if settings.get("do_sample") or settings.get("temperature"):
        raise MemsciError(
            f"Learners answer greedily (paper: greedy decoding); the task asks for {dict(settings)}. Set do_sample to false "
            "and temperature to 0 in its generation_kwargs."
        )
    most = next((settings[name] for name in _LENGTHS if settings.get(name) is not None), REPLY_TOKENS)
    until = settings.get("until") or []
    return int(most), [stop for stop in ([until] if isinstance(until, str) else until) if stop]


def as_lm(learner: Learner, batch_size: int = BATCH, cut: bool = False) -> LM:
    """A learner as a model of lm-evaluation-harness.

    Parameters
    ----------
    learner
        Any of `memsci.learners`; it may learn on afterwards. RAG puts no passage into requests, as in the paper's quiz.
    batch_size
        Requests in one pass, those of like length together.
    cut
        Leave out the start of contexts that are too long for the model, as lm_eval's own models do, instead of an error.

    Returns
    -------
    lm_eval.api.model.LM
        With `loglikelihood` (multiple choice) and `generate_until` (greedy alone). A conversation is written by the base's
        chat template, in which no text can forge a turn; a plain text begins with the tokenizer's BOS token, if any.

    Examples
    --------
    ::

        model = memsci.evaluate.harness.as_lm(learner)
        lm_eval.simple_evaluate(model, tasks=["arc_easy"], apply_chat_template=True)
    """
    check_whole("batch_size", batch_size, 1)
    return _class()(learner, batch_size, cut)


def ask(
    learner: Learner,
    tasks: str | Sequence[str] = "mmlu",
    limit: int | None = None,
    *,
    wording: str = "harness",
    num_fewshot: int | None = None,
    chat: bool | None = None,
    folder: str | Path | None = None,
    batch_size: int = BATCH,
    cut: bool = False,
) -> pd.DataFrame:
    """Put multiple-choice tasks of lm-evaluation-harness to a learner, its gate open to each request if it has one.

    Parameters
    ----------
    tasks
        Names of tasks, groups or tags of lm_eval, or paths of task files (YAML). "mmlu": all 57 subjects;
        ``["mmlu_abstract_algebra", "mmlu_anatomy", "mmlu_astronomy", "mmlu_business_ethics"]``: the paper's four.
    limit
        Most questions of each task, from its beginning; None for all.
    wording
        "harness": as the task words it. "paper": the same questions as `memsci.learners.Learner.choose` puts them, for tasks
        with MMLU's fields question, choices (2 to 26) and answer.
    num_fewshot
        Solved examples before each question; None for as many as the task says, which is none for MMLU.
    chat
        Put the question as a conversation, examples as turns of it. None: if the base has a chat template.
    folder
        A folder with task files, taken instead of those of lm_eval.
    batch_size, cut
        As in `as_lm`.

    Returns
    -------
    pandas.DataFrame
        One row per question: the columns of `memsci.evaluate.ask_quiz`, and task, protocol.
    """
    check_in("wording", wording, WORDINGS)
    if wording == "paper" and (chat is False or num_fewshot):
        raise MemsciError(
            "The paper asks in a conversation and without examples. Leave out chat and num_fewshot, or take "
            "the wording 'harness'."
        )
    for name, value, least in (("limit", limit, 1), ("num_fewshot", num_fewshot, 0)):
        if value is not None:
            check_whole(name, value, least)
    model = as_lm(learner, batch_size, cut)
    if chat is None:
        chat = wording == "paper" or bool(learner.base.tokenizer.chat_template)
    loaded = _load([tasks] if isinstance(tasks, str) else list(tasks), folder)
    for name, task in loaded["tasks"].items():
        _check_task(name, task, wording)
        task.set_fewshot_seed(seed=EXAMPLE_SEED)
        if num_fewshot is not None or task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=num_fewshot or 0)
        if wording == "paper":
            _reword(task)
    outcome = _lm_eval("evaluator").evaluate(
        model, loaded, limit=limit, bootstrap_iters=0, apply_chat_template=chat, fewshot_as_multiturn=True
    )
    tables = []
    for name, task in loaded["tasks"].items():
        rows = [_answered(task, sample) for sample in outcome["samples"][name]]
        how = _protocol(name, task, wording, chat)
        tables.append(pd.DataFrame(rows).assign(task=name, protocol=how).sort_values("item", ignore_index=True))
    return pd.concat(tables, ignore_index=True)


def mmlu(learner: Learner, tasks: str | Sequence[str] = "mmlu", limit: int | None = None, **how: Any) -> pd.DataFrame:
    """Accuracy of a learner in each subject of MMLU, or of other multiple-choice tasks; parameters are those of `ask`.

    Columns method, subject, metric ("knowledge"), n (questions), correct (how many), accuracy (their share), protocol,
    higher_is_better. The mean of accuracy is the macro average, the paper's figure; lm_eval's own total of MMLU weighs
    subjects by their size.
    """
    asked = ask(learner, tasks, limit, **how)
    by_subject = asked.groupby(["task", "subject", "protocol"], sort=False)["correct"]
    table = by_subject.agg(n="size", correct="sum", accuracy="mean").reset_index()
    table = table.assign(method=learner.name, metric="knowledge", higher_is_better=METRICS["knowledge"].higher_is_better)
    columns = ["method", "subject", "metric", "n", "correct", "accuracy", "protocol", "higher_is_better"]
    return table[columns].astype({"correct": int})


def _load(tasks: list[str], folder: str | Path | None) -> dict[str, Any]:
    """Tasks by name, as lm_eval's evaluator takes them."""
    if not tasks:
        raise MemsciError("No task was named. Name at least one, such as 'mmlu' or 'mmlu_anatomy'.")
    package = _lm_eval("tasks")
    # To read all 14,000 task files of lm_eval takes minutes, to read those of MMLU a moment.
    home = Path(package.__file__).parent / "mmlu" / "default" if folder is None else Path(folder).expanduser()
    if not home.is_dir():
        raise MemsciError(f"There is no folder {home}. Give a folder with task files (YAML), or leave it out.")
    unknown = lambda manager: [name for name in tasks if name not in manager.task_index and not Path(name).is_file()]
    manager = package.TaskManager(include_path=str(home), include_defaults=False)
    if unknown(manager) and folder is None:
        manager = package.TaskManager()
    if lacking := unknown(manager):
        like = difflib.get_close_matches(lacking[0], manager.all_tasks, n=5, cutoff=0.5) or manager.all_tasks[:5]
        raise MemsciError(f"There is no task {lacking[0]!r}. Names like it: {', '.join(like) or 'none'}.")
    try:
        return manager.load(tasks)
    except Exception as error:  # many kinds: no network, no such data set, a mistake in a task file, …
        raise MemsciError(
            f"The tasks {', '.join(tasks)} could not be loaded ({error}). lm_eval takes MMLU from the hub (cais/mmlu): "
            "without network it must have been loaded once before, or give a folder with task files whose data lie at hand."
        ) from error


def _check_task(name: str, task: Any, wording: str) -> None:
    simple = task.OUTPUT_TYPE == "multiple_choice" and not task.multiple_input and not task.multiple_target
    if not simple or "acc" not in task.aggregation():
        raise MemsciError(
            f"The task {name!r} is not a question with options of which one is right, scored by accuracy. Leave "
            "it out; in Python, lm-evaluation-harness itself takes it, with a learner as its model (as_lm)."
        )
    if wording == "paper" and (lacking := {"question", "choices", "answer"} - set(task.features)):
        raise MemsciError(
            f"The questions of {name!r} have no {sorted(lacking)[0]!r}, which the paper's wording needs; they have "
            f"{', '.join(task.features)}. Take the wording 'harness'."
        )
    if wording == "paper":
        for number, doc in enumerate(task.eval_docs):
            if not 2 <= len(doc["choices"]) <= len(LETTERS):
                raise MemsciError(
                    f"Question {number} of {name!r} has {len(doc['choices'])} options; the paper's wording "
                    f"has a letter for each, so it takes from 2 to {len(LETTERS)}. Take the wording 'harness'."
                )


def _reword(task: Any) -> None:
    """Give a task of MMLU the paper's prompt, see `memsci.prompts.mmlu`, with as many letters as there are options."""
    option = f"{{{{'{LETTERS}'[loop.index0]}}}}) {{{{choices[loop.index0]}}}}"
    options = "{% for _ in choices %}" + option + "{{'' if loop.last else '\n'}}{% endfor %}"
    for key, value in {
        "description": prompts.MMLU_SYSTEM.format(subject=_subject(task).replace("_", " ")),
        "doc_to_text": prompts.MMLU_USER.format(question="{{question}}", options=options),
        "gen_prefix": prompts.MMLU_PREFIX,
        "doc_to_choice": f"{{{{'{LETTERS}'[:choices | length] | list}}}}",
        "doc_to_target": "answer",
        "target_delimiter": " ",
        "num_fewshot": 0,
    }.items():
        task.set_config(key=key, value=value)


def _subject(task: Any) -> str:
    return task.get_config("task_alias") or task.task_name


def _answered(task: Any, sample: Mapping[str, Any]) -> dict[str, Any]:
    """One row of `ask`."""
    doc, answer = sample["doc"], sample["target"]
    weights = [logprob for logprob, _ in sample["filtered_resps"]]
    return {
        "subject": _subject(task),
        "item": sample["doc_id"],
        "question": doc.get("question") or task.doc_to_text(doc),
        "chosen": weights.index(max(weights)),
        "answer": answer if isinstance(answer, int) else task.doc_to_choice(doc).index(answer),
        "correct": bool(sample["acc"]),
    }


def _protocol(name: str, task: Any, wording: str, chat: bool) -> str:
    form = "in a conversation by the model's chat template" if chat else "as plain text"
    version = (task.get_config("metadata") or {}).get("version", "not stated")
    words = "the task's own words" if wording == "harness" else "the paper's words"
    return (
        f"lm-evaluation-harness {_lm_eval().__version__}, task {name}, version {version}, in {words}, "
        f"{task.get_config('num_fewshot')} examples, {form}: 1 if the most probable of the options (sum over its tokens) is "
        "the right one, else 0; averaged within each subject, then over subjects."
    )


@cache
def _class() -> type:
    class LearnerLM(_Model, _lm_eval("api.model").LM):
        """A learner as a model of lm-evaluation-harness, see `as_lm`."""

    return LearnerLM


def _lm_eval(module: str = "") -> Any:
    try:
        return import_module(f"lm_eval.{module}" if module else "lm_eval")
    except ImportError as error:
        raise MemsciError(
            f'The tasks of lm-evaluation-harness need the package lm_eval ({error}): pip install "memsci[harness]".'
        ) from error
