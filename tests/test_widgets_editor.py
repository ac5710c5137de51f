"""The memory editor: what is pressed and what is called from cells, on a tiny base."""

from __future__ import annotations

import dataclasses
import threading
from xml.etree import ElementTree

import pytest
from test_widgets_panel import WAIT

pytest.importorskip("ipywidgets")

from memsci import prompts
from memsci.config import Encoding
from memsci.errors import MemsciError
from memsci.learners.mega import MEGa
from memsci.memory import Memory
from memsci.widgets.editor import REPLIES, MemoryEditor, loss_chart

ENCODING = Encoding(rank=2, lr=2e-2, epochs=2, text_epochs=1, batch_size=2)


class Quick(MEGa):
    """Speaks without generating."""

    def recall(self, query, **_):
        return f"recalled <{query}>"

    def answer(self, query, via_recall=False, **_):
        return f"{'recalled and ' if via_recall else ''}answered <{query}>"


@pytest.fixture
def mind(base):
    return Quick(base, encoding=ENCODING)


@pytest.fixture
def editor(mind):
    shown = MemoryEditor(mind)
    yield shown
    assert shown.wait(WAIT)


@pytest.fixture
def full(mind):
    """An editor of a mind that had two memories before."""
    mind.encode([Memory("Nora hid it.", id="a", label="Nora"), Memory("Tom ran.", id="b", label="Tom")], progress=False)
    return MemoryEditor(mind)


def press(button, editor):
    assert not button.disabled
    button.click()
    assert editor.wait(WAIT)


def submit(box):
    """The Enter key, as the browser reports it."""
    box._handle_custom_msg({"event": "submit"}, [])


def test_a_memory_is_written_by_hand_and_its_loss_drawn_after_every_epoch(editor, mind):
    assert not mind.ids and editor.summary() == "0 memories"
    charts, said = [], []
    editor._chart.observe(lambda change: charts.append(change["new"]), "value")
    editor.status.observe(lambda change: said.append(change["new"]), "value")
    editor.text_box.value = " Ada paints. "
    editor.label_box.value = "<Ada>"
    editor.paraphrases_box.value = "A painter: Ada.\n\n  It is Ada who paints.  \n"
    press(editor.encode_button, editor)

    (record,) = mind.store.records
    assert record.label == "<Ada>" and len(record.losses) == 3 and record.id == Memory("Ada paints.").id
    assert [chart.count("<circle") for chart in charts] == [1] * 3  # the last is that of the list, the same
    assert [f"{loss:.2f}</text>" in chart for loss, chart in zip(record.losses, charts)] == [True] * 3
    for k, loss in enumerate(record.losses, start=1):
        assert any(f"&lt;Ada&gt;”: epoch {k} of 3, loss {loss:.2f} nats" in line for line in said)
    assert editor.ids == (record.id,) and editor.memories_box.value == record.id
    assert [box.value for box in (editor.text_box, editor.label_box, editor.paraphrases_box)] == ["", "", ""]
    assert editor.status.value == "" and editor.stop_button.disabled
    plainly = MEGa(mind.base, encoding=ENCODING)
    plainly.encode([Memory("Ada paints.", paraphrases=("A painter: Ada.", "It is Ada who paints."))], progress=False)
    assert plainly.store.records[0].losses == pytest.approx(record.losses, rel=1e-5)


def test_from_cells(editor, mind):
    id = editor.add("Ada paints.", label="Ada", paraphrases=["A painter: Ada."], id="ada")
    assert id == "ada" and mind.ids == ("ada",) and list(editor.table["label"]) == ["Ada"]
    loss = mind.store.records[0].losses[-1]
    assert editor.ask("Who paints?") == "answered <Who paints?>"
    assert editor.ask("Who paints?", "recall") == "recalled <Who paints?>"
    assert editor.ask(" Who paints? ", "irag") == "recalled and answered <Who paints?>"
    lines = editor._repr_mimebundle_()["text/plain"].splitlines()
    assert lines[0] == "1 memory" and lines[2].split() == ["ada", "Ada", "3", f"{loss:.2f}"]
    assert lines[4:7] == ["Answer: Who paints?", "answered <Who paints?>", "Opened widest: Ada (gate 1.0000)"]
    assert lines[-3] == "Recall, then answer: Who paints?"
    editor.forget("ada")
    assert not mind.ids and editor.ids == () and editor.table.empty
    assert editor.ask("Who?") and repr(editor).endswith("There was no memory to open.")


def test_test_questions_are_kept_with_the_store_offered_and_their_answers_shown(editor, mind):
    editor.text_box.value = "Ada paints."
    editor.questions_box.value = " Who paints? | Ada\n\nWhat |a|b, c? | paints \n"
    press(editor.encode_button, editor)
    (record,) = mind.store.records
    assert [(q.text, q.answer) for q in record.questions] == [("Who paints?", "Ada"), ("What |a|b, c?", "paints")]
    assert editor.questions_box.value == "" and editor.question_box.options == ("Who paints?", "What |a|b, c?")
    editor.add("Tom ran.", id="b", questions=[("Who ran?", "<Tom>")])
    assert editor.question_box.options == ("Who ran?",)  # of the memory that is chosen
    editor.question_box.value = "Who ran?"
    submit(editor.question_box)
    assert editor.wait(WAIT) and "Right answer: &lt;Tom&gt;. Opened widest: " in editor._said.value
    editor.ask("Did Tom run?")
    assert "Right answer" not in editor.summary().rpartition("Did Tom run?")[2]
    editor.forget("b")
    assert editor.question_box.options == ("Who paints?", "What |a|b, c?")


@pytest.mark.parametrize("written", ["Who paints?", "Who paints? |", "| Ada"])
def test_a_test_question_without_its_answer_is_refused_before_anything_is_learnt(editor, mind, written):
    editor.text_box.value, editor.questions_box.value = "Ada paints.", f"What? | Paints\n{written}"
    press(editor.encode_button, editor)
    assert "has no answer" in editor.status.value and "Who hid the letter? | Nora" in editor.status.value
    assert not mind.ids and editor.questions_box.value.endswith(written)


def test_where_no_questions_are_kept_none_can_be_written(base):
    box = MemoryEditor(MEGa(base, encoding=ENCODING, keep_questions=False)).questions_box
    assert box.disabled and "not kept" in box.placeholder


def test_the_same_text_again_is_not_trained_again(full, mind):
    calls = []
    full._chart.observe(lambda change: calls.append(change["new"]), "value")
    assert full.add("Tom ran.", id="b") == "b"
    assert mind.ids == ("a", "b") and full.memories_box.value == "b" and len(calls) == 1


def test_replies_are_shown_newest_first_and_escaped(full):
    for k in range(REPLIES + 2):
        full.ask(f"<i>{k}</i>")
    said = full._said.value
    assert "<i>" not in said and said.count("memsci-said") == REPLIES
    assert said.index("&lt;i&gt;6") < said.index("&lt;i&gt;5") and "&lt;i&gt;1" not in said


def test_the_buttons_and_the_enter_key_ask(full):
    full.question_box.value = "Who ran?"
    submit(full.question_box)
    assert full.wait(WAIT) and "answered &lt;Who ran?&gt;" in full._said.value
    for kind, told in (("recall", "recalled &lt;"), ("irag", "recalled and answered"), ("answer", "answered")):
        press(full.ask_buttons[kind], full)
        assert told in full._said.value.split("</p>")[1]


@pytest.mark.parametrize("cue", ["question", "prompt"])
def test_what_is_shown_as_opened_is_what_the_rule_opens(full, mind, cue):
    mind.rule = dataclasses.replace(mind.rule, cue=cue, beta=0.01)
    full.ask("Who ran?", "recall")
    text = "Who ran?" if cue == "question" else prompts.recall("Who ran?")[-1]["content"]
    best = mind.gate(text).frame().iloc[0]
    assert f"{best['label']} (gate {best['weight']:.4f})" in repr(full)


def test_a_closed_gate_is_told_of(full, mind):
    mind.rule = dataclasses.replace(mind.rule, closes=1e9)
    full.ask("Who ran?")
    assert repr(full).endswith("The gate is closed: no memory is like this question, and the base spoke alone.")


def test_forgetting_takes_two_presses(full, mind):
    button = full.forget_button
    assert button.disabled  # nothing is chosen
    full.memories_box.value = "b"
    press(button, full)
    assert mind.ids == ("a", "b") and "“Tom”" in button.description and button.button_style == "danger"
    press(full.keep_button, full)
    assert button.description == "Forget" and full.keep_button.layout.display == "none"
    press(button, full)
    full.memories_box.value = "a"  # another choice takes the first press back
    press(button, full)
    assert mind.ids == ("a", "b") and "“Nora”" in button.description
    full.ask("Who?")  # as does anything else
    assert button.description == "Forget"
    press(button, full)
    press(button, full)
    assert mind.ids == ("b",) and full.ids == ("b",) and [*full.memories_box.options] == [("Tom", "b")]
    assert full.memories_box.value is None and not full._chart.value


def test_a_memory_that_a_cell_forgot_meanwhile_is_told_of(full, mind):
    full.memories_box.value = "b"
    mind.forget("b")
    press(full.forget_button, full)
    assert 'role="alert"' in full.status.value and "was forgotten elsewhere" in full.status.value
    assert full.ids == ("a",) and full.memories_box.value is None and full.forget_button.description == "Forget"


def test_observers_of_the_list_may_ask_and_wait_wherever_it_changes(full, mind):
    said = []
    full.observe(lambda change: said.append((len(change["new"]), full.ask("Who?"))), "ids")
    full.forget("a")
    mind.forget("b")
    full.refresh()
    assert said == [(1, "answered <Who?>"), (0, "answered <Who?>")]


def test_the_list_is_drawn_by_one_thread_at_a_time(full, mind):
    mind.forget("a")
    with full._lock:
        other = threading.Thread(target=full.refresh)
        other.start()
        other.join(0.2)
        assert other.is_alive() and len(full.memories_box.options) == 2
    other.join(WAIT)
    assert [*full.memories_box.options] == [("Tom", "b")]


def test_errors_in_handlers_are_shown(full, mind, monkeypatch):
    monkeypatch.setattr(type(mind.store), "records", property(lambda _: [][0]))
    full.memories_box.value = "a"
    assert 'role="alert"' in full.status.value and "IndexError" in full.status.value


def test_the_list_shows_the_losses_of_the_memory_chosen(full, mind):
    full.memories_box.value = "a"
    losses = mind.store.records[0].losses
    assert full._chart.value == loss_chart(losses, 3, "Nora")


def test_changes_from_elsewhere_are_seen_when_it_is_shown_or_refreshed(full, mind):
    seen = []
    full.observe(lambda change: seen.append(change["new"]), "ids")
    full.memories_box.value = "b"
    mind.forget("a")
    full.refresh()
    assert seen == [("b",)] and full.memories_box.value == "b"
    mind.forget("b")
    assert full._repr_mimebundle_()["text/plain"] == "0 memories" and seen[-1] == () and full.memories_box.value is None


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda e: e.add(""), "the text of a memory is empty"),
        (lambda e: e.add("x" * 5000), "reads at most 512"),
        (lambda e: e.add("Ada paints.", id="a/b"), "cannot be the id"),
        (lambda e: e.add("Another text.", id="a"), "another memory called 'a'"),
        (lambda e: e.ask("  "), "The question is empty"),
        (lambda e: e.ask("Who?", "guess"), "guess"),
        (lambda e: e.forget("c"), "'c'"),
    ],
)
def test_errors_are_raised_in_a_cell_and_shown_in_the_widget(full, mind, act, message):
    with pytest.raises(MemsciError, match=message):
        act(full)
    assert 'role="alert"' in full.status.value and mind.ids == ("a", "b")
    assert not full.busy and not full.encode_button.disabled and full.stop_button.disabled


def test_what_was_written_stays_when_it_cannot_be_encoded(full):
    full.text_box.value, full.paraphrases_box.value = "y" * 5000, "z"
    press(full.encode_button, full)
    assert "reads at most 512" in full.status.value
    assert full.text_box.value == "y" * 5000 and full.paraphrases_box.value == "z"


def test_while_it_encodes_nothing_else_can_be_pressed_and_stop_stores_nothing(full, mind):
    under_way = threading.Event()
    go = threading.Event()
    found = {}

    def watch(change):
        if "epoch 1 of" in change["new"] and not under_way.is_set():
            under_way.set()
            assert go.wait(WAIT)

    full.status.observe(watch, "value")
    full.memories_box.value = "a"
    full.text_box.value = "Ada paints."
    full.encode_button.click()
    assert under_way.wait(WAIT)
    for name, button in {"encode": full.encode_button, "forget": full.forget_button, **full.ask_buttons}.items():
        found[name] = button.disabled
    submit(full.question_box)  # nor does Enter ask
    found["stop"] = full.stop_button.disabled
    full.stop_button.click()
    go.set()
    assert full.wait(WAIT)
    assert found == {"encode": True, "forget": True, "answer": True, "recall": True, "irag": True, "stop": False}
    assert "Stopped" in full.status.value and "was not stored" in full.status.value
    assert mind.ids == ("a", "b") and full.text_box.value == "Ada paints." and not full._said.value
    press(full.encode_button, full)  # a stop is for one training
    assert len(mind.ids) == 3 and not full.status.value


def test_the_whole_with_a_model_that_speaks(base):
    mind = MEGa(base, encoding=ENCODING)
    editor = MemoryEditor(mind)
    editor.add("Ada paints.")
    assert editor.ask("Who paints?") == mind.answer("Who paints?")


def test_the_chart_is_a_picture_with_its_numbers_in_words():
    drawn = loss_chart([3.456, 1.2, 0.04], 5, 'A "<b>" & c')
    picture = ElementTree.fromstring(drawn)
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == ("Loss of 'A \"<b>\" & c' in nats per token after each epoch: 3.46, 1.20, 0.04.")
    points = [tuple(map(float, pair.split(","))) for pair in picture.find("polyline").get("points").split()]
    across, down = zip(*points)
    assert len(points) == 3 and list(across) == sorted(across) and list(down) == sorted(down)
    left, right = (float(text.get("x")) for text in picture.findall("text") if text.get("y") == "136")
    assert across[0] == left and across[-1] == pytest.approx((left + right) / 2)
    assert [text.text for text in picture.findall("text")][1:4] == ["0", "2", "4"]
    width, height = map(float, picture.get("viewBox").split()[2:])
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    assert {element.get("stroke") for element in picture.iter() if element.get("stroke")} == {
        "currentColor", "var(--memsci-focus, #0072b2)"
    }  # fmt: skip


@pytest.mark.parametrize("losses", [[0.0], [2.0], [1e-7, 1e-8], [5e4]])
def test_any_losses_can_be_drawn(losses):
    ElementTree.fromstring(loss_chart(losses, 1 if len(losses) == 1 else 2, ""))
