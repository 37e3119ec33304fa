"""How the demo plays: one thing happens after the other, and each is watched for a while."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from shoal.observe.load_generator import LoadGenerator, Record

TICK_S = 0.05
FRAME_S, LINE_S = 0.2, 1.0
"""How often a live view changes, and a line is printed: of the answers since the last second."""
PATIENCE_S = 10.0
"""How much longer a chapter may be for what is still awaited in it."""


class Chapter(msgspec.Struct, frozen=True):
    """A part of the story, on the monotonic clock: what happened at ``began_s`` was over at
    ``happened_s``."""

    title: str
    began_s: float
    happened_s: float
    ended_s: float = math.inf


def play(
    plot: Iterable[tuple[str, Callable[[], object]]],
    each_s: float,
    show: Callable[[str], None],
    awaited: Callable[[int, float], bool] = lambda number, happened_s: False,
) -> list[Chapter]:
    """Let each thing happen, and take ``each_s`` for it, or longer while something is ``awaited``
    in the chapter of this number. What goes on is shown every moment, under the chapter's title.
    """
    chapters: list[Chapter] = []
    with ThreadPoolExecutor(1) as stage:
        for number, (title, happen) in enumerate(plot):
            began_s = time.monotonic()
            happening = stage.submit(happen)
            while not happening.done():
                time.sleep(TICK_S)
                show(title)
            happening.result()
            happened_s, end_s = time.monotonic(), began_s + each_s
            while time.monotonic() < end_s or (
                awaited(number, happened_s) and time.monotonic() < end_s + PATIENCE_S
            ):
                time.sleep(TICK_S)
                show(title)
            chapters.append(Chapter(title, began_s, happened_s, time.monotonic()))
    return chapters


class View:
    """What becomes of the requests of ``loads``: ``words`` says it of the answers of the last
    second, ``below`` shows more of them. A line each second, under the title; on a terminal a live
    view, where there is something to show ``below``, and while somebody has entered ``live``."""

    def __init__(
        self,
        console: Console,
        loads: Sequence[LoadGenerator],
        words: Callable[[Sequence[Record]], Iterable[str]],
        below: Callable[[Sequence[Record]], RenderableType] | None = None,
    ) -> None:
        self._console, self._loads, self._words, self._below = console, loads, words, below
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._began_s = self._shown_s = time.monotonic()
        self._title = ""

    def show(self, title: str) -> None:
        """Show this moment, if it is time to."""
        now_s = time.monotonic()
        live = self.live if self._below is not None else None
        if now_s < self._shown_s + (LINE_S if live is None else FRAME_S):
            return
        self._shown_s = now_s
        recent = [r for load in self._loads for r in since(load.records, now_s - 1.0)]
        words = "  ".join(self._words(recent))
        if live is None or self._below is None:
            if title != self._title:
                self._console.print(f"  {title}", soft_wrap=True)
                self._title = title
            self._console.print(f"{now_s - self._began_s:7.1f} s  {words}", soft_wrap=True)
        else:
            shown = Group(Text(f"\n{title}", "bold"), Text(words), self._below(recent))
            live.update(shown, refresh=True)


def since(records: Sequence[Record], begin_s: float) -> Sequence[Record]:
    """The last records, from ``begin_s`` on."""
    return records[bisect_left(records, begin_s, key=lambda record: record.answered_s) :]
