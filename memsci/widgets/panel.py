"""What all widgets of memsci are: a panel that works in the background, says what it does, and can be read as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial, wraps
from html import escape
from queue import SimpleQueue
from threading import Condition, Lock, RLock, Thread, current_thread
from typing import Any

import pandas as pd
from ipywidgets import HTML, HBox, Layout, VBox, Widget
from traitlets import Bool

from memsci.errors import MemsciError

DISPLAY_WAIT = 60.0  # seconds that showing a panel waits for its numbers

_WAITING = "Waiting for the model …"

# Colours are JupyterLab's own, so that they follow its theme; Voila sets the same variables. A fallback after each comma.
STYLE = """
.memsci-panel {
  --memsci-text: var(--jp-ui-font-color1, #222);
  --memsci-soft: var(--jp-ui-font-color2, #555);
  --memsci-line: var(--jp-border-color1, #aaa);
  --memsci-focus: var(--jp-brand-color1, #0b5fa5);
  --memsci-error: var(--jp-error-color1, #b00020);
  color: var(--memsci-text);
  gap: 6px;
  max-width: 62rem;
  overflow: visible;
}
.memsci-panel .widget-html-content { color: var(--memsci-text); line-height: 1.45; overflow-wrap: anywhere; }
.memsci-panel .widget-html-content svg { max-width: 100%; height: auto; }
.memsci-panel :is(input, textarea, select, button, summary, a, [tabindex]):focus-visible {
  outline: 2px solid var(--memsci-focus) !important;
  outline-offset: 1px;
}
.memsci-panel a { color: var(--jp-content-link-color, #0b5fa5); text-decoration: underline; }
.memsci-panel .widget-accordion .jupyter-widget-Collapse-header { color: var(--memsci-text); }
.memsci-panel .memsci-soft { color: var(--memsci-soft); }
.memsci-panel .memsci-said { white-space: pre-wrap; border-left: 3px solid var(--memsci-line); padding: 2px 0 2px 10px; }
.memsci-panel .memsci-error { color: var(--memsci-error); font-weight: 600; white-space: pre-wrap; }
.memsci-panel table.memsci-numbers { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.memsci-panel table.memsci-numbers :is(th, td) {
  padding: 1px 10px 1px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--memsci-line);
}
.memsci-panel .memsci-row { display: flex; flex-flow: row wrap; align-items: center; gap: 4px 14px; overflow: visible; }
.memsci-panel .memsci-row > * { flex: 0 1 auto; }
"""


@dataclass(eq=False)
class _Job:
    work: Callable[[], Any]
    then: Callable[[Any], Any] | None
    saying: str
    key: str | None
    future: Future = field(default_factory=Future)


class Panel(VBox):
    """A column of widgets with a line of text that says what is under way and what went wrong.

    Work that takes time goes through `run`, so that the kernel goes on answering. One thread works for all panels of a
    kernel: a model speaks through one mixture of memories at a time, and what was asked for first is done first.

    Parameters
    ----------
    children
        What stands in the panel, from top to bottom; the status comes after them.

    Attributes
    ----------
    status
        The line of text, as HTML; screen readers read it out as it changes.
    busy
        Whether something is under way or waits; to be observed, not set.
    """

    busy = Bool(False)

    def __init__(self, children: Sequence[Widget] = ()) -> None:
        self._exclusive = Condition(RLock())
        self._waiting: list[_Job] = []
        self._doing = 0  # jobs under way: one that is run within another is done at once
        self._seen_busy = False  # `busy`, once its observers are through
        self._lock = RLock()  # for what is drawn both by the worker and by the kernel's own thread
        self._quiet = 0  # blocks under way within which controls move without consequences
        self.status = HTML()
        super().__init__([styled(STYLE), *children, self.status])
        self.add_class("memsci-panel")

    def summary(self) -> str:
        """The numbers that the panel shows, as plain text, to 4 decimals; the same for the same state."""
        raise NotImplementedError

    @contextmanager
    def _silently(self) -> Iterator[None]:
        """Within the block, controls move without consequences."""
        with self._lock:
            self._quiet += 1
            try:
                yield
            finally:
                self._quiet -= 1

    def run(
        self, work: Callable[[], Any], then: Callable[[Any], Any] | None = None, saying: str = "", key: str | None = None
    ) -> Future:
        """Do something in the background, then show what came of it.

        Called from within such work, of this panel or another, it is done at once: the work would wait for itself else.

        Parameters
        ----------
        work
            What takes time; it may call `say` as it goes on.
        then
            Given the result of `work`, on the same thread.
        saying
            The status meanwhile.
        key
            Of several calls with the same key that wait for their turn, the newest alone is made. One that is under way is
            finished, and shown.

        Returns
        -------
        concurrent.futures.Future
            Done after `then`: its `result()` is that of `work`, or raises what went wrong, which the status says too. It is
            cancelled if a newer call took its place.
        """
        job = _Job(work, then, saying, key)
        at_once = _on_worker()
        with self._exclusive:
            for older in [one for one in self._waiting if key is not None and one.key == key]:
                self._waiting.remove(older)
                older.future.cancel()
            idle = not self._doing
            if at_once:
                self._doing += 1
            else:
                self._waiting.append(job)
        self._tell_busy()
        if at_once:
            self._do(job)
            return job.future
        if idle and (_AT_WORK.locked() or not _queue().empty()):
            self.say(_WAITING)
        _queue().put(self)
        return job.future

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is under way. Errors are not raised here: they stand in the status.

        Returns
        -------
        bool
            Whether that was reached within so many seconds (None: however long it takes). From within the panel's own work,
            which cannot wait for itself, False at once.
        """
        if _on_worker():
            return False
        with self._exclusive:
            return self._exclusive.wait_for(lambda: not self._unfinished() and not self._seen_busy, timeout)

    def say(self, text: str) -> None:
        """Show what is under way; an empty text clears the line."""
        self.status.value = f'<div role="status" aria-live="polite">{escape(text)}</div>' if text else ""

    def say_error(self, error: BaseException) -> None:
        """Show an error: its message if it is one of memsci's, else its kind and message."""
        text = str(error) if isinstance(error, MemsciError) else f"{type(error).__name__}: {error}"
        self.status.value = f'<div role="alert" class="memsci-error">{escape(text)}</div>'

    def handling(self, act: Callable[..., Any]) -> Callable[..., None]:
        """The same as a handler of clicks and changes: what goes wrong in it is shown, which ipywidgets would only log."""

        @wraps(act)
        def handler(*given: Any) -> None:
            try:
                act(*given)
            except Exception as error:
                self.say_error(error)

        return handler

    def _do_next(self) -> None:
        """The next job, if no newer one took its place."""
        with self._exclusive:
            if not self._waiting:
                return
            job = self._waiting.pop(0)
            self._doing += 1
        self._do(job)

    def _do(self, job: _Job) -> None:
        """A job, unless it was cancelled; on the worker's thread, which nothing that goes wrong may end."""
        found = wrong = None
        wanted = job.future.set_running_or_notify_cancel()
        try:
            if wanted:
                self.say(job.saying)
                found = job.work()
            self.say(_WAITING if self._waiting else "")
            if wanted and job.then is not None:
                job.then(found)
        except BaseException as error:
            wrong = error
            self.say_error(error)
        with self._exclusive:
            self._doing -= 1
        self._tell_busy()
        if wanted and wrong is None:
            job.future.set_result(found)
        elif wanted:
            job.future.set_exception(wrong)

    def _unfinished(self) -> bool:
        return bool(self._waiting or self._doing)

    def _tell_busy(self) -> None:
        """Let `busy` follow: not under `_exclusive`, as its observers may want locks whose holders want that."""
        while True:
            with self._exclusive:
                if self._unfinished() == self._seen_busy:
                    self._exclusive.notify_all()
                    return
            self.handling(partial(setattr, self, "busy", not self._seen_busy))()
            with self._exclusive:
                self._seen_busy = self.busy

    def __repr__(self) -> str:
        return self.summary()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        # What a cell has set in motion belongs to what it shows.
        self.wait(DISPLAY_WAIT)
        return {**super()._repr_mimebundle_(**kwargs), "text/plain": self.summary()}


def row(*children: Widget) -> HBox:
    """Widgets of a panel side by side, on further lines where there is no room."""
    box = HBox(children)
    box.add_class("memsci-row")
    return box


def wide(name: str) -> dict[str, Any]:
    """Layout and style of a control as wide as the panel, whose name takes up so much."""
    return {"layout": Layout(width="auto"), "style": {"description_width": name}}


def styled(css: str) -> HTML:
    """A style as a widget; it works from where nothing is displayed."""
    return HTML(f"<style>{css}</style>", layout=Layout(display="none"))


def plain(table: pd.DataFrame) -> str:
    """A table as text for `Panel.summary`: no index, numbers to 4 decimals, missing ones as a dash."""
    return table.to_string(index=False, float_format=number, na_rep="–")


def number(value: float) -> str:
    """A number to 4 decimals; zero has no sign."""
    return f"{value:.4f}" if round(value, 4) else "0.0000"


_THREAD = "memsci-widgets"
_AT_WORK = Lock()  # held by the worker during a job


@cache
def _queue() -> SimpleQueue:
    """Panels with a job to do, in order, and a thread that does them."""
    queue: SimpleQueue = SimpleQueue()

    def work() -> None:
        while True:
            panel = queue.get()
            with _AT_WORK:
                panel._do_next()

    Thread(target=work, name=_THREAD, daemon=True).start()
    return queue


def _on_worker() -> bool:
    return current_thread().name == _THREAD
