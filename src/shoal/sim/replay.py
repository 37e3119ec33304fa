"""Plays a recording of a node again, in virtual time, and compares what it does.

All that a node decides follows from the events that it takes: it has no clock, its dice are thrown
from its name, and policies are pure functions. So a node that is made in the same way and given the
same events does the same, or something has changed since.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from shoal.core.events import Body
from shoal.core.log import Step
from shoal.core.node import NodeCore, make_core
from shoal.core.policy import Policy, find_policy
from shoal.core.recording import End, Entry, RecordingHead, decode, encode
from shoal.core.settings import Origin
from shoal.errors import PlanError, RecordingError
from shoal.plan.plan import Playbook

CHUNK = 1 << 20
MAX_WINDOW = 8 << 20
"""Bytes that a recording may ask for to be unpacked."""
MAX_SAID = 600
"""Letters of an action that are told."""


class Difference(msgspec.Struct, frozen=True):
    """The first step in which the node did something else than when it was recorded: the
    ``number``-th, from 1, ``at_s`` after the first. Each of ``then`` and ``now`` is, as text, what
    it said to itself ("itself: ..."), what it wanted done, and what it raised; ``where`` names what
    differs in the first of these that do."""

    number: int
    at_s: float
    event: str
    then: tuple[str, ...]
    now: tuple[str, ...]
    where: str


class Played(msgspec.Struct, frozen=True):
    """What came of playing a recording of the ``node``: so many ``events`` led to the same
    ``actions``, but for the ``difference``. ``ended`` says why there are no more: empty where the
    node ended, None where the recording breaks off."""

    node: str
    version: str
    events: int
    actions: int
    ended: str | None
    difference: Difference | None = None


def read(path: str | Path) -> Iterator[Entry]:
    """The entries of a recording in a file; RecordingError when it is none, or is damaged."""
    try:
        yield from decode(_unpacked(Path(path)))
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror or error})") from None
    except zstandard.ZstdError as error:
        raise RecordingError(f"{path}: it is no recording, or damaged ({error})") from None
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from None


def _unpacked(path: Path) -> Iterator[bytes]:
    unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    with path.open("rb") as file, unpacker.stream_reader(file) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def play(
    entries: Iterable[Entry],
    policies: Callable[[str], Policy] = find_policy,
    watch: Callable[[NodeCore, Step], None] = lambda core, step: None,
) -> Played:
    """Give a fresh node the events of a recording, and compare what it does with what it did.
    ``watch`` sees the node, and each of its own steps, until one differs.

    RecordingError when the recording is damaged, or the node followed a policy that is not
    installed here.
    """
    entries = iter(entries)
    header = next(entries, None)
    if not isinstance(header, RecordingHead):
        raise RecordingError("a recording begins with its header")
    player = _Player(header.origin, policies)
    events = actions = 0
    ended: str | None = None
    began_s = 0.0
    for entry in entries:
        if isinstance(entry, End):
            ended = entry.why
            break
        if isinstance(entry, RecordingHead):
            raise RecordingError("a recording has one header")
        step, events = player.take(entry), events + 1
        began_s = began_s if events > 1 else entry.at
        if not same(entry, step):
            player.check_policies()
            found = _difference(events, entry, step, entry.at - began_s)
            name = header.origin.info.name
            return Played(name, header.version, events - 1, actions, ended, found)
        actions += len(step.actions)
        watch(player.core, step)
    return Played(header.origin.info.name, header.version, events, actions, ended)


class _Player:
    """A node, and what it is given again."""

    def __init__(self, origin: Origin, policies: Callable[[str], Policy]) -> None:
        self.core = make_core(origin, self._policy, self._digest)
        self.core.introduce(origin.info.incarnation)
        self._steps: list[Step] = []
        self.core.log.tap = self._steps.append
        self._policies = policies
        self._missing: dict[str, str] = {}
        self._digests: deque[tuple[str, ...]] = deque()

    def take(self, then: Step) -> Step:
        """What the node does now with the event of a step."""
        self._digests = deque(then.digests)
        with contextlib.suppress(Exception):  # what it raises is told in its step
            self.core.handle(then.event, then.at)
        return self._steps.pop()

    def check_policies(self) -> None:
        """RecordingError when the node asked for a policy that is not there."""
        for why in self._missing.values():
            raise RecordingError(f"the recorded node followed a policy that is not here: {why}")

    def _policy(self, name: str) -> Policy:
        try:
            return self._policies(name)
        except PlanError as error:
            self._missing[name] = str(error)
            raise

    def _digest(self, body: Body) -> tuple[str, ...]:
        return self._digests.popleft() if self._digests else ("not asked for then",)


def same(then: Step, now: Step) -> bool:
    """Whether a node did the same as in a recorded step; remarks, and the words of an error, do not
    count."""
    return encode(then) == encode(now) or _done(then) == _done(now)


def _done(step: Step) -> tuple[Any, ...]:
    # As it is read from a recording: numbers are of the types that are declared.
    read_back = msgspec.msgpack.decode(msgspec.msgpack.encode(step), type=Step)
    error = read_back.error.partition(":")[0]
    return read_back.own, read_back.actions, read_back.digests, error


# -- in words


def _difference(number: int, then: Step, now: Step, at_s: float) -> Difference:
    befores, afters = _parts(then), _parts(now)
    pairs = zip_longest(befores, afters)
    before, after = next((pair for pair in pairs if pair[0] != pair[1]), (None, None))
    return Difference(
        number,
        at_s,
        say(then.event),
        tuple(text for text, _ in befores),
        tuple(text for text, _ in afters),
        _where(before, after),
    )


def _parts(step: Step) -> list[tuple[str, Any]]:
    """What a node did in a step, each as text and as it is."""
    own, actions, digests, _ = _done(step)
    parts = [(f"itself: {say(send.message)}", send) for send in own]
    parts += [(say(action), action) for action in actions]
    parts += [(f"asked what is in a request: {', '.join(each)}", each) for each in digests]
    return [*parts, (f"raised {step.error}", step.error)] if step.error else parts


def _where(before: tuple[str, Any] | None, after: tuple[str, Any] | None) -> str:
    if before is None or after is None:
        return "it did more then" if after is None else "it does more now"
    return ", ".join(_fields(before[1], after[1]))


def _fields(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The paths of fields in which two values differ."""
    if type(before) is type(after) and isinstance(before, msgspec.Struct):
        for name in before.__struct_fields__:
            here = f"{path}.{name}" if path else name
            yield from _fields(getattr(before, name), getattr(after, name), here)
    elif before != after:
        yield path or "what it is"


def say(value: Any) -> str:
    """A value as Python writes it, without the fields that are as by default, and in short where it
    is long."""
    text = _say(value)
    return text if len(text) <= MAX_SAID else f"{text[:MAX_SAID]} ..."


def _say(value: Any) -> str:
    if not isinstance(value, msgspec.Struct):
        return repr(value)
    if isinstance(value, Playbook):
        return f"Playbook({value.id!r})"
    fields = (
        f"{field.name}={_say(getattr(value, field.name))}"
        for field in msgspec.structs.fields(value)
        if getattr(value, field.name) != field.default
    )
    return f"{type(value).__name__}({', '.join(fields)})"
