"""The tests of the ``onnx`` package, each told what came of it with the engine and with Shoal."""

from __future__ import annotations

import os
import sys
import unittest
import warnings
from typing import TypeAlias

import msgspec
from onnx.backend.test import BackendTest

from shoal.errors import ShoalError
from shoal_benchmarks.networks.backend import EngineBackend, ShoalBackend

GROUPS = {
    "OnnxBackendNodeModelTest": "node",
    "OnnxBackendSimpleModelTest": "simple",
    "OnnxBackendPyTorchConvertedModelTest": "pytorch-converted",
    "OnnxBackendPyTorchOperatorModelTest": "pytorch-operator",
}
"""The groups that are run, as ``onnx`` calls their classes. The one that is left out downloads
weights, or makes up some."""

Test: TypeAlias = tuple[str, str]
"""The group of a test, and its name."""

RIGHT, REFUSED, WRONG, CRASHED, HUNG = "right", "refused", "wrong", "crashed", "hung"
ENDED = (CRASHED, HUNG)

HALVES = {"rtol": 2**-8, "atol": 2**-10}
"""How far off 16-bit floats may be at a cut, where the engine rounds once more: two roundings. (Of
numbers around 1, as those of the tests are.)"""

MOST = 300
"""Characters of what is told of a fault."""

_SUFFIX = "_cpu"


class Outcome(msgspec.Struct, frozen=True):
    """What came of a test. ``engine`` is empty where ONNX Runtime passes it, else why it does not.

    ``shoal`` is right (whole and at each of ``cuts``), refused, wrong, crashed (with anything but
    an error of Shoal's own, or the process ended) or hung; ``why`` says more. ``operators`` are
    those of the model.
    """

    name: str
    group: str
    operators: tuple[str, ...] = ()
    engine: str = ""
    shoal: str = ""
    why: str = ""
    cuts: int = 0
    by_example: bool = False


class Suite:
    """The tests by name. Making them takes seconds."""

    def __init__(self) -> None:
        self._shoal = ShoalBackend()
        with warnings.catch_warnings():  # of casts that overflow, on purpose
            warnings.simplefilter("ignore")
            self._engine_cases = BackendTest(EngineBackend(), __name__).test_cases
            self._shoal_cases = BackendTest(self._shoal, __name__).test_cases

    def names(self) -> list[Test]:
        """All tests."""
        return [
            (group, name.removesuffix(_SUFFIX))
            for found, group in GROUPS.items()
            for name in sorted(vars(self._shoal_cases[found]))
            if name.startswith("test_") and name.endswith(_SUFFIX)
        ]

    def run(self, group: str, name: str) -> Outcome:
        """Run a test, by the engine and by Shoal at each cut."""
        kind = next(found for found, each in GROUPS.items() if each == group)
        _, engine = _judged(self._engine_cases[kind], name)
        self._shoal.begin()
        state, why = _judged(self._shoal_cases[kind], name)
        cuts = 0
        for way in self._shoal.ways if state == RIGHT else ():
            self._shoal.way = way
            bounds = HALVES if self._shoal.in_halves else {}
            state, why = _judged(self._shoal_cases[kind], name, **bounds)
            if state != RIGHT:
                why = f"cut at {', '.join(map(str, way))}: {why}"
                break
            cuts += len(way) == 1
        return Outcome(
            name, group, self._shoal.operators, engine, state, why, cuts, self._shoal.by_example
        )


def _judged(cases: type[unittest.TestCase], name: str, **bounds: float) -> tuple[str, str]:
    """What becomes of a test, held to ``bounds`` instead of its own, and why."""
    method = name + _SUFFIX
    try:
        getattr(cases(method), method)(**bounds)
    except ShoalError as error:
        return REFUSED, f"{type(error).__name__}: {error}"
    except AssertionError as error:
        return WRONG, " ".join(str(error).split())[:MOST]
    except Exception as error:
        return CRASHED, f"{type(error).__name__}: {' '.join(str(error).split())}"[:MOST]
    return RIGHT, ""


def main() -> None:
    """Tell all tests on stdout, then run those whose groups and names come on stdin, a line each,
    and tell what came of them. What else is written to stdout goes to stderr."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    suite = Suite()
    replies.write(msgspec.json.encode(suite.names()).decode() + "\n")
    replies.flush()
    for line in sys.stdin:
        group, name = line.split()
        replies.write(msgspec.json.encode(suite.run(group, name)).decode() + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
