"""A function of the user's own that says how alike two answers are."""

from __future__ import annotations

import hashlib
import math
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import ClassVar

import numpy as np

from shoal.errors import DataError
from shoal.model.dtypes import Array
from shoal.task.agreement import NOTHING, Agreement, Judge, Outputs, Task

SLOW_S = 5.0
"""What a call may take: there is one for each image and each way that is tried."""
EXAMPLE = "--agreement FILE.py:FUNCTION"


@dataclass(frozen=True)
class Own(Task):
    """``function(whole, found)`` gets two dicts of arrays, which it cannot change, and gives a
    share from 0 to 1, or None where the image says nothing. ``digest`` is that of its file."""

    where: str
    digest: str
    function: Callable[[dict[str, Array], dict[str, Array]], object] = field(compare=False)
    _one: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)
    name: ClassVar[str] = "agreement"

    @classmethod
    def of(cls, where: str) -> Own:
        """The function named by ``FILE.py:FUNCTION``; DataError where there is none."""
        file, _, name = where.rpartition(":")
        if not file or not name.isidentifier():
            raise DataError(f"agreement: {where!r} names no function; write {EXAMPLE}")
        path = Path(file).expanduser()
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"agreement: cannot read {path}: {error.strerror or error}") from None
        found = getattr(_module(path, digest), name, None)
        if not callable(found):
            raise DataError(f"agreement: {path} has no function {name!r}; write {EXAMPLE}")
        return cls(f"{path.name}:{name}", digest, found)

    @property
    def measured(self) -> str:
        return f"answers (by {self.where})"

    @property
    def key(self) -> str:
        return f"agreement {self.digest} {self.where}"

    def _judge(self, whole: Outputs) -> Judge:
        def agreement(found: Outputs) -> Agreement:
            return self._call(whole, found)

        return Judge(agreement(whole).score is not None, agreement)

    def _call(self, whole: Outputs, found: Outputs) -> Agreement:
        with self._one:  # answers are compared in several threads
            began = time.perf_counter()
            try:
                given = self.function(_readable(whole), _readable(found))
            except Exception as error:
                raise DataError(
                    f"agreement: {self.where} raised {type(error).__name__}: {error}; mend it"
                ) from error
            took_s = time.perf_counter() - began
        if took_s > SLOW_S:
            raise DataError(
                f"agreement: {self.where} took {took_s:.1f} s for one image, and it is asked for "
                f"each image in each way that is tried; make it quicker than {SLOW_S:g} s"
            )
        if given is None:
            return NOTHING
        number = isinstance(given, int | float | np.integer | np.floating | np.bool_)
        score = float(given) if number else math.nan  # type: ignore[arg-type]
        if not 0 <= score <= 1:
            raise DataError(
                f"agreement: {self.where} gave {given!r}: give a number from 0 (nothing alike) to "
                "1 (equal), or None for an image that says nothing"
            )
        return Agreement(score, 1 - score)


class _AsWritten(SourceFileLoader):
    """Leaves no bytecode beside the user's file, and takes none: it is told by time and size."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _module(path: Path, digest: str) -> ModuleType:
    """What a file defines, run once for its content."""
    name = f"shoal_agreement_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    loader = _AsWritten(name, str(path))
    made = ModuleType(name)
    made.__file__ = str(path)
    sys.modules[name] = made  # where classes that it defines look for it
    try:
        loader.exec_module(made)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise DataError(
            f"agreement: {path} does not run: {type(error).__name__}: {error}; mend it"
        ) from error
    return made


def _readable(outputs: Outputs) -> dict[str, Array]:
    views = {name: array.view() for name, array in outputs.items()}
    for view in views.values():
        view.flags.writeable = False
    return views
