"""Plays a scene: brings the lab up, deploys, lets faults fall, and takes everything down."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from shoal.errors import LabError
from shoal.observe.load_generator import Record
from shoal.runtime.worker import WorkerOptions
from shoal.scratch import Scratch
from shoal_lab.chaos import verdict
from shoal_lab.chaos.job import Account, Job, Said, Tick
from shoal_lab.chaos.scene import Scene
from shoal_lab.chaos.verdict import Effect, Loss, Totals
from shoal_lab.lab import Lab
from shoal_lab.player import Happening

PORT = 7447
START_S = 240.0
"""How long slow devices may take for each step until the load begins."""
SILENT_S = 120.0
"""After so long without a word the driver is taken for dead."""
LEAVE_S = 30.0


class Moment(msgspec.Struct, frozen=True):
    """A second: ``at_s`` since the faults began, and the faults that were going on then."""

    at_s: float
    tick: Tick
    going_on: tuple[str, ...]


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What happened. ``took_s`` is how long the load lasted, ``records`` are the answers in their
    order, ``began_s`` is when the faults began on the clock of the records. ``energy_j`` is an
    estimate of what each host with a preset would have used meanwhile (nothing on loopback)."""

    warnings: tuple[str, ...]
    ready_s: float
    took_s: float
    totals: Totals
    energy_j: dict[str, float]
    effects: tuple[Effect, ...]
    losses: tuple[Loss, ...]
    happenings: tuple[Happening, ...]
    moments: tuple[Moment, ...]
    records: tuple[Record, ...] = ()
    began_s: float = 0.0


def play(
    scene: Scene,
    *,
    loopback: bool = False,
    logs: Path | None = None,
    on_warning: Callable[[str], object] = lambda text: None,
    on_step: Callable[[str], object] = lambda text: None,
    on_second: Callable[[Moment], object] = lambda moment: None,
    on_happening: Callable[[Happening], object] = lambda happening: None,
) -> Story:
    """Play ``scene`` and tell what happened. Nothing stays, whatever happens.

    ``on_step`` hears what is done until the load begins. ``on_happening`` is called in another
    thread. ``logs`` keeps what the hosts printed. LabError
    when the driver fails, with what it said last, and what bringing up the lab raises.
    """
    with Scratch.make("chaos") as made:
        folder = made.path
        lab = Lab(scene.spec, loopback=loopback, logs=logs or folder, folder=Path(scene.folder))
        with lab:
            for warning in lab.warnings:
                on_warning(warning)
            began_s = time.monotonic()
            with _Driver(lab, scene, folder, logs or folder) as driver:
                driver.tick(START_S, on_step)
                ready_s = time.monotonic() - began_s
                used_j = _energy_j(lab)
                player = lab.play(scene.faults, say=on_happening)
                began_s = time.monotonic() - player.now_s
                moments: list[Moment] = []
                while not moments or moments[-1].at_s < scene.seconds:
                    tick = driver.tick(SILENT_S)
                    at_s = tick.at_s - began_s
                    going_on = [
                        span.what
                        for span in verdict.spans(list(player.happenings))
                        if span.covers(at_s)
                    ]
                    moments.append(Moment(at_s, tick, tuple(going_on)))
                    for failed in lab.failed_lines():
                        on_warning(failed.text)
                    on_second(moments[-1])
                took_s = time.monotonic() - began_s
                energy_j = {name: j - used_j[name] for name, j in _energy_j(lab).items()}
                account = driver.finish(scene.deadline_ms / 1e3 + LEAVE_S)
            happenings = tuple(player.happenings)
            warnings = lab.warnings
    happened = verdict.spans(happenings)
    where = (lab.network, scene.gate, scene.workers)
    lost = verdict.losses(account.failures, began_s, happened, *where)
    return Story(
        warnings=warnings,
        ready_s=ready_s,
        took_s=took_s,
        totals=verdict.totals(account, lost, took_s),
        energy_j=energy_j,
        effects=tuple(verdict.effects(account.records, began_s, happened, took_s, *where)),
        losses=tuple(lost),
        happenings=happenings,
        moments=tuple(moments),
        records=account.records,
        began_s=began_s,
    )


def _energy_j(lab: Lab) -> dict[str, float]:
    """An estimate; nothing where CPU shares are not emulated."""
    return {} if lab.is_loopback else lab.energy_j()


class _Driver:
    """The program on the gateway's host, and the workers that it deploys on."""

    def __init__(self, lab: Lab, scene: Scene, folder: Path, logs: Path) -> None:
        self._account = folder / "account"
        self._log = logs / "driver.log"
        job = Job(
            devices={name: f"tcp/{lab.host(name).address}:{PORT}" for name in scene.workers},
            gate=scene.gate,
            model=_absolute(scene.model),
            strategy=scene.strategy,
            options=scene.options,
            window=scene.window,
            deadline_ms=scene.deadline_ms,
            account=str(self._account),
        )
        for name, address in job.devices.items():
            options = msgspec.json.encode(WorkerOptions(name=name, listen=(address,))).decode()
            # It ends with this process, which holds the other end of its standard input.
            lab.host(name).spawn(_python("shoal.runtime.worker", options), stdin=subprocess.PIPE)
        with self._log.open("ab") as log:
            text = msgspec.json.encode(job).decode()
            self._process = lab.host(scene.gate).spawn(
                _python("shoal_lab.chaos.driver", text),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(
            target=_read, args=(self._process.stdout, self._lines), name="chaos-driver"
        )
        self._reader.start()

    def __enter__(self) -> _Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def tick(self, within_s: float, on_step: Callable[[str], object] = lambda text: None) -> Tick:
        """The next second; ``on_step`` hears what is done until then. LabError when nothing is
        said for ``within_s``, or the driver ended."""
        while True:
            try:
                line = self._lines.get(timeout=within_s)
            except queue.Empty:
                raise self._failed(f"said nothing for {within_s:g} s") from None
            if not line:
                raise self._failed(f"ended with {self._process.wait()}")
            said: Said = msgspec.json.decode(line, type=Said)
            if isinstance(said, Tick):
                return said
            on_step(said.text)

    def finish(self, within_s: float) -> Account:
        """Let it end the load and give its account."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise self._failed(f"did not end within {within_s:g} s") from None
        if code != 0:
            raise self._failed(f"ended with {code}")
        return msgspec.msgpack.decode(self._account.read_bytes(), type=Account)

    def _failed(self, how: str) -> LabError:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return LabError(f"the driver of the load {how}: {lines[-1] if lines else 'no reason'}")


def _python(module: str, text: str) -> list[str]:
    return [sys.executable, "-m", module, text]


def _absolute(model: str) -> str:
    """A file by its full path; the driver looks for it from elsewhere."""
    return str(Path(model).absolute()) if Path(model).exists() else model


def _read(stream: IO[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    while line := stream.readline():
        lines.put(line)
    lines.put(b"")
