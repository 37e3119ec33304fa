"""Calibration: what each way to pack costs in accuracy, bytes and time, on the user's images.

The images go through the network in handfuls, from place to place, so that each stretch is run
once. At each place every way to pack that can still reach the accuracy asked for is tried: packed,
unpacked, and the rest of the network run. On the first images, a pilot, it is found out which
rounding does best for each number of bits and which compressor (of those, the smallest frame, and
the quickest one where that is another), so that the bulk of the images is spent on these.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from operator import eq
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import xxhash

from shoal import allowance
from shoal.cache import cache_folder
from shoal.codec.frame import pack, unpack
from shoal.errors import DataError, FrameError, UsageError
from shoal.model.store import write_whole
from shoal.plan.network import Array, Feeds, Network, Part
from shoal.plan.statistics import lower_bound
from shoal.strategies.base import Progress
from shoal.strategies.images import Images
from shoal.strategies.labels import check_label, check_labels, labels_count
from shoal.strategies.promised import check_says
from shoal.strategies.split.calibration import VERSION, Calibration, Entry, Outcome
from shoal.strategies.split.codings import Coding, for_image, for_tensors
from shoal.strategies.split.cuts import places
from shoal.task import Judge, Task

PILOT = 16
HANDFUL = 48
HANDFUL_BYTES = 256 << 20
"""What the tensors of a handful may take at one place."""
TIMED = 8
"""Images on which frames are compared by size and time."""
FIRST = 4
"""Images whose outcomes are kept for the proof: the first ones that say something."""
QUICKER = 0.6
"""A codec is worth a plan of its own beside the smallest when it takes at most this of its time."""
HEAD_BYTES = 64
"""What a message costs beside the frame, about."""


def calibrate(
    network: Network,
    images: Images,
    task: Task,
    floor: float,
    confidence: float,
    progress: Progress = lambda share, text: None,
    cache: bool = True,
) -> Calibration:
    """Calibrate ``network`` on ``images`` for a ``task``, or take what was found before for the
    same network, images, task and settings. ``progress`` is told the share that is done, and what
    is being done.

    A way to pack that cannot be guaranteed to keep ``floor`` any more is given up. Raises
    DataError for images that cannot be read, and where the whole network finds nothing in any.
    """
    file = _file(network, images, task, floor, confidence)
    if cache:
        found = _load(file)
        if found is not None:
            progress(1.0, "calibrated before")
            return found
    made = _Run(network, images, task, floor, confidence, progress).run()
    if cache:
        write_whole(file, msgspec.json.encode(made))
    return made


def _file(network: Network, images: Images, task: Task, floor: float, confidence: float) -> Path:
    key = f"{VERSION} {network.hash} {images.digest} {task.key} {floor:.6f} {confidence:.6f}"
    return cache_folder() / "calibrations" / f"{xxhash.xxh3_128_hexdigest(key.encode())}.json"


def _load(file: Path) -> Calibration | None:
    try:
        made = msgspec.json.decode(file.read_bytes(), type=Calibration)
    except (OSError, msgspec.DecodeError):
        return None
    return made if made.version == VERSION else None


@dataclass
class _Tried:
    """A way to pack at one place, and what it did so far."""

    at: int
    coding: Coding
    codec: str
    pack_ms: float = 0.0
    unpack_ms: float = 0.0
    bytes: list[int] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)
    first: list[Outcome] = field(default_factory=list)
    good: float = 0.0
    counted: int = 0
    same: _Tried | None = None
    """The one with the same rounding, whose answers are also this one's."""

    def take(self, size: int, outcome: Outcome | None, image: _Image) -> None:
        """Count what became of an image (no outcome: it is known)."""
        self.bytes.append(size)
        if outcome is None:
            return
        if image.first:
            self.first.append(outcome)
        if image.counts and outcome.score is not None:
            self.counted += 1
            self.good += outcome.score
            self.apart.append(outcome.apart)


@dataclass
class _Image:
    """An image on its way through the network: its tensors at hand, its label, and what judges
    answers by the whole network's. ``first``: it is one of those whose outcomes are kept."""

    tensors: Feeds
    label: int | None
    judge: Judge
    first: bool = False

    @property
    def counts(self) -> bool:
        """Whether the image says anything: where labels exist, only if the answer is right."""
        return self.label is None or self.judge.top1 == self.label


@dataclass
class _Run:
    """One calibration."""

    network: Network
    images: Images
    task: Task
    floor: float
    confidence: float
    progress: Progress
    tried: dict[int, list[_Tried]] = field(default_factory=dict)
    labels: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    seen: int = 0
    counted: int = 0
    whole_ms: float = 0.0

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(max_workers=min(4, allowance.whole_cores()))
        self.places = places(self.network)
        self.count = self.images.count
        self.labelled = labels_count(self.images, self.task)

    def run(self) -> Calibration:
        """Handful by handful."""
        began = time.monotonic()
        widest = max(place.raw_bytes for place in self.places)
        handful = max(1, min(HANDFUL, HANDFUL_BYTES // max(1, widest)))
        self._look()
        with self.pool:
            for taken in _handfuls(iter(self.images), min(PILOT, handful), handful):
                share = self.seen / max(self.count, self.seen + len(taken))
                self._handful(taken, min(0.99, share))
        if not self.seen:
            raise DataError("the images hold no input; give others")
        right = sum(map(eq, self.labels, self.answers))
        return Calibration(
            version=VERSION,
            network=self.network.hash,
            images=self.images.digest,
            measured=self.task.measured,
            count=self.seen,
            counted=self.counted,
            labelled=self.labelled,
            top1=right / self.seen if self.labelled else None,
            whole_ms=self.whole_ms,
            seconds=time.monotonic() - began,
            first=tuple(self.first),
            entries=tuple(_entry(each) for tried in self.tried.values() for each in tried),
        )

    def _look(self) -> None:
        """DataError, before anything takes long, where no image says anything."""
        (whole,) = self.network.split((), prove=False)
        session = whole.session()
        answers = (whole.run_on(session, feeds) for feeds, _ in self.images)
        if not any(self.task.judge(answer).says for answer in answers) and self.count:
            check_says(0, self.count, self.task.measured)

    def _handful(self, taken: Sequence[tuple[Feeds, int | None]], share: float) -> None:
        """Take some images through all places; the first ones are the pilot."""
        (whole,) = self.network.split((), prove=False)
        images = self._answered(whole, taken)
        stretches = self.network.split([place.at for place in self.places[1:]], prove=False)
        of_all = 0.99 * min(1.0, len(taken) / self.count) / len(self.places)
        for index, (place, stretch) in enumerate(zip(self.places, stretches, strict=True)):
            tried = self.tried.get(place.at)
            ways = "all" if tried is None else len(tried)
            self.progress(share + index * of_all, f"cut {place.at}: {ways} ways to pack")
            suffix = whole if place.at == 0 else self.network.split([place.at], prove=False)[1]
            if tried is None:
                self.tried[place.at] = self._pilot(place.at, suffix, images)
            else:
                self._try(tried, suffix, images)
                self.tried[place.at] = [each for each in tried if self._may_reach(each)]
            if place != self.places[-1]:
                self._onward(stretch, images)

    def _answered(self, whole: Part, taken: Sequence[tuple[Feeds, int | None]]) -> list[_Image]:
        """The images with the whole network's answers, which are counted, and timed once."""
        session = whole.session()

        def answer(item: tuple[Feeds, int | None]) -> _Image:
            feeds, label = item
            if label is not None and self.labelled:
                check_label(label, self.task.classes or 0)
            judge = self.task.judge(whole.run_on(session, feeds))
            return _Image(feeds, label if self.labelled else None, judge)

        images = list(self.pool.map(answer, taken))
        if not self.tried:
            timed = [image.tensors for image in images[:TIMED]]
            self.whole_ms = _median_ms(partial(whole.run_on, session), timed)
        for number, image in enumerate(images, self.seen):
            self.counted += image.judge.says and image.counts
            if image.judge.says and len(self.first) < FIRST:
                image.first = True
                self.first.append(number)
            if image.label is not None and image.judge.top1 is not None:
                self.labels.append(image.label)
                self.answers.append(image.judge.top1)
        self.seen += len(images)
        if self.labels:
            check_labels(self.labels, self.answers, "calibrate")
        return images

    def _onward(self, stretch: Part, images: Sequence[_Image]) -> None:
        run = partial(stretch.run_on, stretch.session())
        at_hand = list(self.pool.map(run, [image.tensors for image in images]))
        for image, tensors in zip(images, at_hand, strict=True):
            image.tensors = tensors

    def _pilot(self, at: int, suffix: Part, images: Sequence[_Image]) -> list[_Tried]:
        """The best rounding for each number of bits, with its best codecs."""
        kept: list[_Tried] = []
        tensors = [image.tensors for image in images]
        for group in for_tensors(tensors) if at else for_image(tensors):
            tried = [_Tried(at, coding, coding.codecs[0]) for coding in group]
            self._try(tried, suffix, images)
            able = [each for each in tried if self._may_reach(each)]
            if able:
                best = min(able, key=lambda each: (-each.good, sum(each.apart)))
                kept += _with_codecs(best, tensors[:TIMED])
            elif at:
                break  # fewer bits will not do better
        return kept

    def _try(self, tried: Sequence[_Tried], suffix: Part, images: Sequence[_Image]) -> None:
        """Pack, unpack and finish each image in each of the ways, and count."""
        session = suffix.session()

        def finish(image: _Image) -> list[tuple[int, Outcome | None]]:
            found: list[tuple[int, Outcome | None]] = []
            for each in tried:
                sent, size = _sent(image.tensors, each.codec)
                outcome = None
                if each.coding.exact:
                    _check_exact(image.tensors, sent, each.codec)
                elif each.same is None:
                    outcome = Outcome(*image.judge.agreement(suffix.run_on(session, sent)))
                found.append((size, outcome))
            return found

        for image, outcomes in zip(images, self.pool.map(finish, images), strict=True):
            for each, (size, outcome) in zip(tried, outcomes, strict=True):
                each.take(size, outcome, image)

    def _may_reach(self, tried: _Tried) -> bool:
        """Whether the accuracy asked for can still be guaranteed after the last image."""
        tried = tried.same or tried
        if tried.coding.exact:
            return True
        wrong = tried.counted - tried.good
        return lower_bound(self.count - wrong, self.count, self.confidence) >= self.floor


def _handfuls(
    source: Iterator[tuple[Feeds, int | None]], first: int, size: int
) -> Iterator[list[tuple[Feeds, int | None]]]:
    taken = list(islice(source, first))
    while taken:
        yield taken
        taken = list(islice(source, size))


def _sent(tensors: Mapping[str, Array], codec: str) -> tuple[Feeds, int]:
    frame = pack(tensors, codec)
    size = frame.size + len(msgspec.msgpack.encode(frame.head))
    return unpack(frame), size + HEAD_BYTES


def _check_exact(given: Mapping[str, Array], sent: Mapping[str, Array], codec: str) -> None:
    for name, array in given.items():
        if not np.array_equal(array, sent[name], equal_nan=array.dtype.kind == "f"):
            raise FrameError(f"the codec {codec!r} is said to be exact and changed {name!r}")


def _with_codecs(best: _Tried, tensors: Sequence[Feeds]) -> list[_Tried]:
    """The rounding with the codec that makes the smallest frames, and with the quickest one where
    that saves much of the time."""
    measured = []
    for codec in best.coding.codecs:
        try:
            frames = [pack(feeds, codec) for feeds in tensors]
        except UsageError:
            continue
        size = statistics.fmean(frame.size for frame in frames)
        pack_ms = _median_ms(partial(pack, codec=codec), tensors)
        unpack_ms = _median_ms(unpack, frames)
        measured.append((size, pack_ms, unpack_ms, codec))
    smallest = min(measured)
    quickest = min(measured, key=lambda m: m[1] + m[2])
    chosen = [smallest]
    if quickest[1] + quickest[2] < QUICKER * (smallest[1] + smallest[2]):
        chosen.append(quickest)
    made: list[_Tried] = []
    for _, pack_ms, unpack_ms, codec in chosen:
        each = _Tried(best.at, best.coding, codec, pack_ms, unpack_ms)
        each.bytes = [_sent(feeds, codec)[1] for feeds in tensors]
        if made:
            each.same = made[0]
        else:
            each.apart, each.first = best.apart, best.first
            each.good, each.counted = best.good, best.counted
        made.append(each)
    return made


_Item = TypeVar("_Item")


def _median_ms(run: Callable[[_Item], object], items: Sequence[_Item]) -> float:
    """CPU time of this thread for one item: the median, after one run that does not count."""
    run(items[0])
    times = []
    for item in items:
        start = time.thread_time()
        run(item)
        times.append((time.thread_time() - start) * 1e3)
    return statistics.median(times)


def _entry(tried: _Tried) -> Entry:
    judged = tried.same or tried
    return Entry(
        at=tried.at,
        codec=tried.codec,
        bits=tried.coding.bits,
        how=tried.coding.how,
        exact=tried.coding.exact,
        images=judged.counted,
        good=judged.good,
        bytes_mean=statistics.fmean(tried.bytes),
        pack_ms=tried.pack_ms,
        unpack_ms=tried.unpack_ms,
        first=tuple(judged.first),
    )
