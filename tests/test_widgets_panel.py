"""What all widgets share: work in the background, errors that are shown, numbers as text."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pandas as pd
import pytest

pytest.importorskip("ipywidgets")

from ipywidgets import Button, Label

from memsci.errors import MemsciError
from memsci.widgets.panel import Panel, number, plain

WAIT = 60  # seconds, for what takes a few at most


class Shown(Panel):
    def __init__(self):
        self.value = 0.0
        super().__init__([Label("a number")])

    def summary(self):
        return f"value {number(self.value)}\n" + "x" * 200


@pytest.fixture
def panel():
    shown = Shown()
    yield shown
    assert shown.wait(WAIT)


def test_a_panel_is_shown_as_a_widget_and_read_as_its_numbers(panel):
    panel.value = 0.12345
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == repr(panel) == "value 0.1235\n" + "x" * 200
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.model_id
    assert "memsci-panel" in panel._dom_classes and panel.children[-1] is panel.status
    with pytest.raises(NotImplementedError):
        Panel().summary()


def test_work_goes_on_in_the_background_and_its_result_is_shown(panel):
    go = threading.Event()
    seen = []

    def work():
        seen.append((panel.busy, panel.status.value, threading.current_thread() is threading.main_thread()))
        assert go.wait(WAIT)
        panel.say("half & half")
        seen.append(panel.status.value)
        return 7

    done = panel.run(work, lambda found: setattr(panel, "value", found), saying="Counting …")
    assert panel.busy and not done.done() and not panel.wait(0.01)
    go.set()
    assert done.result(WAIT) == 7 and not panel.busy and panel.value == 7 and panel.status.value == ""
    (busy, said, in_main), half = seen
    assert busy and "Counting …" in said and 'aria-live="polite"' in said and not in_main
    assert "half &amp; half" in half


def test_showing_a_panel_waits_for_what_was_set_in_motion(panel):
    go = threading.Event()
    panel.run(lambda: go.wait(WAIT), lambda _: setattr(panel, "value", 2.0))
    threading.Timer(0.05, go.set).start()
    assert panel._repr_mimebundle_()["text/plain"].startswith("value 2.0000")


@pytest.mark.parametrize(
    ("error", "shown"),
    [(MemsciError("β must be <4>."), "β must be &lt;4&gt;."), (KeyError("<b>"), "KeyError: &#x27;&lt;b&gt;&#x27;")],
)
@pytest.mark.parametrize("when", ["work", "then"])
def test_errors_are_shown_and_the_panel_goes_on(panel, error, shown, when):
    def fail(*_):
        raise error

    failed = panel.run(fail) if when == "work" else panel.run(lambda: 1, fail)
    assert panel.wait(WAIT) and failed.exception(WAIT) is error
    assert shown in panel.status.value and 'role="alert"' in panel.status.value
    assert panel.run(lambda: 2).result(WAIT) == 2 and panel.status.value == ""


def test_a_newer_call_takes_the_place_of_a_waiting_one_with_its_key(panel):
    go, begun = threading.Event(), threading.Event()
    made, shown = [], []

    def work(k):
        begun.set()
        assert go.wait(WAIT)
        made.append(k)
        return k

    first = panel.run(lambda: work(0), shown.append, key="β")
    assert begun.wait(WAIT)
    waiting = [panel.run(lambda k=k: work(k), shown.append, key="β") for k in (1, 2, 3)]
    other = [panel.run(lambda k=k: work(k), shown.append, key=key) for k, key in ((4, "query"), (5, None), (6, None))]
    other[1].cancel()
    go.set()
    assert panel.wait(WAIT) and made == shown == [0, 3, 4, 6]
    assert first.result() == 0 and waiting[2].result() == 3
    for taken in waiting[:2]:
        with pytest.raises(CancelledError):
            taken.result()


def test_one_thread_works_for_all_panels_and_does_not_wait_for_itself(panel):
    another = Shown()
    at_once, most = 0, []
    lock = threading.Lock()

    def work():
        nonlocal at_once
        with lock:
            at_once += 1
            most.append(at_once)
        waited = panel.wait() or another.wait()
        with lock:
            at_once -= 1
        return waited

    done = [one.run(work) for one in (panel, another) * 5]
    assert [one.result(WAIT) for one in done] == [False] * 10 and max(most) == 1


def test_work_that_is_run_within_work_is_done_at_once(panel):
    another, shown = Shown(), []

    def work():
        inner = panel.run(lambda: 1, shown.append), another.run(lambda: another.busy and 2, shown.append)
        assert panel.busy and not another.busy
        return [one.result(WAIT) for one in inner]

    assert panel.run(work, shown.append).result(WAIT) == [1, 2] and shown == [1, 2, [1, 2]]

    def fail():
        raise KeyError("inner")

    failed = panel.run(lambda: another.run(fail).result(WAIT))
    assert isinstance(failed.exception(WAIT), KeyError) and "inner" in another.status.value


def test_observers_of_busy_may_run_work_and_ask_for_locks(panel):
    lock, wanted, found = threading.RLock(), threading.Event(), []

    def observe(change):
        if change["new"]:
            return
        wanted.set()
        with lock:  # as whoever draws does
            found.append(panel.run(lambda: 1).result(WAIT))
            panel.unobserve(observe, "busy")

    panel.observe(observe, "busy")
    with lock:
        first = panel.run(lambda: 2)
        assert wanted.wait(WAIT)
        second = panel.run(lambda: 3)  # while the worker waits for the lock
    assert first.result(WAIT) == 2 and second.result(WAIT) == 3 and found == [1] and panel.wait(WAIT)
    assert not panel.busy


@pytest.mark.parametrize("where", ["busy", "work"])
def test_nothing_that_goes_wrong_ends_the_worker(panel, where):
    def fail(*_):
        raise SystemExit("over") if where == "work" else KeyError("over")

    if where == "busy":
        panel.observe(fail, "busy")
        assert panel.run(lambda: 1).result(WAIT) == 1
    else:
        assert isinstance(panel.run(fail).exception(WAIT), SystemExit)
    assert panel.wait(WAIT) and "over" in panel.status.value
    assert Shown().run(lambda: 2).result(WAIT) == 2


def test_a_panel_behind_another_says_that_it_waits(panel):
    go, begun = threading.Event(), threading.Event()
    another = Shown()
    another.run(lambda: begun.set() or go.wait(WAIT), saying="Counting …")
    assert begun.wait(WAIT)
    seen = []
    panel.run(lambda: seen.append(panel.status.value), saying="Adding …")
    last = panel.run(lambda: None)
    assert "Waiting for the model" in panel.status.value and "Counting" in another.status.value
    panel.status.observe(lambda change: seen.append(change["new"]), "value")
    last.cancel()
    go.set()
    assert panel.wait(WAIT) and panel.status.value == ""
    assert "Adding" in seen[0] or "Adding" in seen[1]


def test_what_goes_wrong_in_a_handler_is_shown(panel):
    button = Button()
    button.on_click(panel.handling(lambda _: [][0]))
    button.click()
    assert 'role="alert"' in panel.status.value and "IndexError" in panel.status.value


def test_numbers_as_text():
    written = [number(x) for x in (0.5, -0.00001, 1e-9, -1.23456, float("nan"))]
    assert written == ["0.5000", "0.0000", "0.0000", "-1.2346", "nan"]
    table = pd.DataFrame({"id": ["a", "bc"], "x": [0.123456, float("nan")], "n": [1, 20]})
    assert plain(table).split() == ["id", "x", "n", "a", "0.1235", "1", "bc", "–", "20"]
