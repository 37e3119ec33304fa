"""What all rivals get: the same network in the same pieces, on the same seats, under one load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from shoal.errors import UsageError
from shoal.model.spec import TensorSpec

if TYPE_CHECKING:
    from shoal.model.part import Part

FILE = "job.json"
MAX_BYTES = 1 << 20


class Piece(msgspec.Struct, frozen=True):
    """A stretch of the network as an ordinary ONNX file with its weights inside. ``inputs`` and
    ``outputs`` are in the order in which they travel; what is in both passes by."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Seat(msgspec.Struct, frozen=True):
    """Where processes run and listen. ``cores`` are those they may use (empty: as they come,
    within the host's share)."""

    name: str
    address: str
    ports: tuple[int, int]
    cores: tuple[int, ...] = ()


class Job(msgspec.Struct, frozen=True):
    """A comparison. ``pieces`` are the stages in order, one to a seat; ``whole`` is all of them in
    one. ``threads`` is that of each stage, ``window`` the number of requests under way, each given
    up after ``deadline_s``. ``shared`` tells that all seats are one machine. ``folder`` holds the
    files; processes write their numbers there, so that they can be found and killed."""

    folder: str
    network: str
    whole: Piece
    pieces: tuple[Piece, ...]
    seats: tuple[Seat, ...]
    client: Seat
    shared: bool
    threads: int
    window: int
    deadline_s: float

    @property
    def path(self) -> Path:
        """The file that says all this."""
        return Path(self.folder) / FILE

    @property
    def input(self) -> TensorSpec:
        """The network's one input."""
        return self.whole.inputs[0]

    @property
    def output(self) -> TensorSpec:
        """The network's one output."""
        return self.whole.outputs[0]

    def save(self) -> None:
        """Write it into its folder."""
        self.path.write_bytes(msgspec.json.encode(self))

    def put_pid(self, stage: int, pid: int) -> None:
        """Note which process runs ``stage``; it appears whole or not at all."""
        path = self._pid_path(stage)
        aside = path.with_suffix(f".{pid}")
        aside.write_text(str(pid))
        aside.rename(path)

    def pid(self, stage: int) -> int:
        """The process that runs ``stage``; UsageError if none has said so."""
        try:
            return int(self._pid_path(stage).read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"stage {stage} has left no process number: {error}") from None

    def forget_pids(self) -> None:
        """No process runs any stage."""
        for stage in range(len(self.seats)):
            self._pid_path(stage).unlink(missing_ok=True)

    def _pid_path(self, stage: int) -> Path:
        return Path(self.folder) / f"stage-{stage}.pid"


def load(path: str | os.PathLike[str]) -> Job:
    """The job in a file that :meth:`Job.save` wrote; UsageError if it is none."""
    try:
        data = Path(path).read_bytes()
        if len(data) > MAX_BYTES:
            raise UsageError(f"{path} has {len(data)} bytes, so it is not a job")
        return msgspec.json.decode(data, type=Job)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} is not a job: {error}") from None


def write_piece(part: Part, path: Path) -> Piece:
    """Write a part as an ordinary ONNX file that needs no store."""
    import onnx

    model = onnx.load_model_from_string(part.graph)
    for weight in model.graph.initializer:
        if weight.data_location == onnx.TensorProto.EXTERNAL:
            blob = next(entry.value for entry in weight.external_data if entry.key == "location")
            weight.raw_data = bytes(part.blobs[blob])
            weight.data_location = onnx.TensorProto.DEFAULT
            del weight.external_data[:]
    path.write_bytes(model.SerializeToString())
    return Piece(
        str(path),
        tuple(part.specs[name] for name in part.inputs),
        tuple(part.specs[name] for name in part.outputs),
    )
