"""Several images in one request: one message there and one back for all of them.

What a request costs beside computing (deciding, framing, acknowledging) is then shared, which is
most of what an image costs a weak device that sends it on. Each image waits for the others.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

import numpy as np

from shoal.codec.codecs import Array
from shoal.errors import InputError, PoisonError, RemoteError
from shoal.model.spec import TensorSpec
from shoal.plan.plan import Playbook
from shoal.runtime.answer import Answer
from shoal.runtime.pending import Pending

T = TypeVar("T")

MAX_TOGETHER = 64
"""Inputs that may be put together; what they take in memory grows with it on every device."""


def check_together(count: int, playbook: Playbook) -> None:
    """InputError unless so many requests of a playbook may be put together to one."""
    if not 1 <= count <= MAX_TOGETHER:
        raise InputError(f"{count} inputs cannot be put together; give 1 to {MAX_TOGETHER}")
    if count > 1 and not playbook.together:
        raise InputError(
            f"inputs of {playbook.network!r} cannot be put together: its batch is fixed, or its "
            "answer to an image depends on the others (or the playbook is an old one: plan again)"
        )


def images_in(inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> int:
    """How many images are in arrays that fit these inputs: 1 where the batch is not free."""
    free = (arrays[spec.name].shape[0] for spec in inputs if spec.shape and spec.shape[0] is None)
    return next(free, 1)


def take(source: Iterator[T], count: int) -> tuple[list[T], Exception | None]:
    """What comes next, up to ``count``, and what the source raised behind it, if anything."""
    taken: list[T] = []
    try:
        taken.extend(itertools.islice(source, count))  # keeps what came before an error
    except Exception as error:
        return taken, error
    return taken, None


def joined(each: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The inputs of several requests as those of one (a copy)."""
    return {name: np.concatenate([arrays[name] for arrays in each]) for name in each[0]}


def parted(
    whole: Future[Answer],
    counts: Sequence[int],
    make: Callable[[], Future[Answer]] = Pending,
    apart: Callable[[int], Future[Answer]] | None = None,
) -> list[Future[Answer]]:
    """Futures for the first so many images of an answer, for the next, and so on. When all of them
    are cancelled, so is ``whole``. They fail with it, and with RemoteError where an output has not
    as many rows as there are images. Where workers died of it, each is asked for ``apart``: they
    died of one of them."""
    futures = [make() for _ in counts]
    waiting, awaited = list(futures), [whole]

    def answered(done: Future[Answer]) -> None:
        # Who keeps one of them must not keep all.
        ending = list(waiting)
        waiting.clear()
        awaited.clear()
        parts: list[Answer | BaseException]
        try:
            parts = [*_parts(done.result(), counts)]
        except PoisonError as error:
            if apart is not None:
                for place, future in enumerate(ending):
                    _follow(future, functools.partial(apart, place))
                return
            parts = [error] * len(ending)
        except BaseException as error:
            parts = [error] * len(ending)
        for future, part in zip(ending, parts, strict=True):
            _end(future, part)

    def cancelled(_: Future[Answer]) -> None:
        if waiting and all(future.cancelled() for future in waiting):
            for asked in awaited:
                asked.cancel()

    for future in futures:
        future.add_done_callback(cancelled)
    whole.add_done_callback(answered)
    return futures


def _end(future: Future[Answer], part: Answer | BaseException) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(part, BaseException):
        future.set_exception(part)
    else:
        future.set_result(part)


def _follow(future: Future[Answer], ask: Callable[[], Future[Answer]]) -> None:
    """Let a future end as the one does that is asked for, and the other way round."""
    if future.cancelled():
        return

    def answered(done: Future[Answer]) -> None:
        if done.cancelled():
            future.cancel()
        else:
            _end(future, done.exception() or done.result())

    try:
        other = ask()
    except BaseException as error:
        _end(future, error)
        return
    other.add_done_callback(answered)
    future.add_done_callback(lambda f: other.cancel() if f.cancelled() else None)


def _parts(answer: Answer, counts: Sequence[int]) -> list[Answer]:
    images = sum(counts)
    for name, array in answer.outputs.items():
        if array.ndim == 0 or array.shape[0] != images:
            raise RemoteError(
                f"{images} images were put together, and output {name!r} has the shape "
                f"{list(array.shape)}; ask for one at a time"
            )
    made, start = [], 0
    for count in counts:
        rows = slice(start, start + count)
        outputs = {name: array[rows].copy() for name, array in answer.outputs.items()}
        made.append(dataclasses.replace(answer, outputs=outputs))
        start += count
    return made
