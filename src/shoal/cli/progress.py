"""What ``shoal run`` shows while it goes on, on stderr: how far it is, and who comes and goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.progress import Progress

from shoal.cli.output import stderr
from shoal.runtime.observer import ObservedRequest, Observer

if TYPE_CHECKING:
    from shoal.runtime.answer import Answer
    from shoal.runtime.service import Service


class RunProgress(Observer):
    """Within its ``with`` block: a bar of the inputs that ended, out of ``count``, where somebody
    looks at it and ``quiet`` does not forbid it; and a line for each device that goes or comes."""

    def __init__(self, service: Service, count: int, quiet: bool) -> None:
        self._service = service
        self._console = stderr()
        self._bar = Progress(
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._inputs = self._bar.add_task("answering", total=count)

    def answered(self, request: ObservedRequest, answer: Answer) -> None:
        self._bar.advance(self._inputs, request.images)

    def failed(self, request: ObservedRequest, error: BaseException) -> None:
        self._bar.advance(self._inputs, request.images)

    def peer(self, name: str, there: bool) -> None:
        moment = time.strftime("%H:%M:%S")
        devices, node = self._service.playbook.devices, self._service.node
        what = "is there, and takes part once it is ready"
        if not there:
            left = node.name in devices or devices & node.link.peers().keys()
            what = "is gone; " + (
                "the others go on"
                if left
                else "nobody is left, requests wait until their deadlines"
            )
        self._console.print(f"{moment} {name} {what}", soft_wrap=True, highlight=False)

    def __enter__(self) -> Self:
        self._bar.start()
        self._service.add_observer(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._service.remove_observer(self)
        self._bar.stop()
