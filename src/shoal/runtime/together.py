"""Several images in one request: one message there and one back for all of them.

What a request costs beside computing (deciding, framing, acknowledging) is then shared, which is
most of what an image costs a weak device that sends it on. Each image waits for the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import numpy as np

from shoal.codec.codecs import Array
from shoal.errors import InputError
from shoal.model.spec import TensorSpec
from shoal.runtime.answer import Answer

MAX_TOGETHER = 64
"""Requests that may be put together; what they take in memory grows with it on every device."""


def check_together(count: int, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """InputError unless so many requests may be put together to one of a network with these
    inputs and outputs."""
    if not 1 <= count <= MAX_TOGETHER:
        raise InputError(f"{count} images cannot be put together; give 1 to {MAX_TOGETHER}")
    for spec in (*inputs, *outputs) if count > 1 else ():
        if not spec.shape or spec.shape[0] is not None:
            raise InputError(
                f"images cannot be put together: {spec.name!r} has the fixed shape "
                f"{list(spec.shape)}; export the network with a free batch axis"
            )


def images_in(inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> int:
    """How many images are in arrays that fit these inputs: 1 where the batch is not free."""
    free = (arrays[spec.name].shape[0] for spec in inputs if spec.shape and spec.shape[0] is None)
    return next(free, 1)


def joined(each: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The inputs of several requests as those of one (a copy)."""
    return {name: np.concatenate([arrays[name] for arrays in each]) for name in each[0]}


def parted(whole: Future[Answer], counts: Sequence[int]) -> list[Future[Answer]]:
    """Futures for the first so many images of an answer, for the next, and so on. When all of them
    are cancelled, so is ``whole``."""
    futures: list[Future[Answer]] = [Future() for _ in counts]

    def answered(done: Future[Answer]) -> None:
        start = 0
        for future, count in zip(futures, counts, strict=True):
            rows = slice(start, start + count)
            start += count
            if not future.set_running_or_notify_cancel():
                continue
            error = done.exception() if not done.cancelled() else None
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(_rows(done.result(), rows))

    def cancelled(_: Future[Answer]) -> None:
        if all(future.cancelled() for future in futures):
            whole.cancel()

    for future in futures:
        future.add_done_callback(cancelled)
    whole.add_done_callback(answered)
    return futures


def _rows(answer: Answer, rows: slice) -> Answer:
    """The answer for some of the images. A copy: one that is kept must not keep all of them."""
    outputs = {name: array[rows].copy() for name, array in answer.outputs.items()}
    return dataclasses.replace(answer, outputs=outputs)
