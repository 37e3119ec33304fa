"""Every error that Shoal raises on purpose, in one tree.

ShoalError                      exit code 1
├── UsageError                  2   an argument or option makes no sense
│   └── ForkError               3   used in a child of the process that made it
├── ModelError                  10  a network cannot be used
│   ├── ModelFileError          11  damaged, truncated, hostile or over a size limit
│   ├── UnsupportedModelError   12  control flow, custom operators, unresolvable shapes
│   ├── CutError                13  no such cut, or the cuts are not in order
│   └── ProofError              14  parts do not give the answer of the whole network
├── InputError                  20  wrong names, shapes, dtypes or values of inputs
├── DataError                   25  a data set or checkpoint is missing or damaged
├── ClusterError                30  the cluster file is wrong
├── PlanError                   40  no plan can do what was asked (memory, devices, strategy)
│   └── MeasureError            41  a device that is there could not be measured
├── MeshError                   50  devices cannot talk
│   ├── FrameError              51  a damaged or lying message
│   ├── UnreachableError        52  an expected device did not appear
│   ├── NameTakenError          53  another live worker has this name
│   ├── VersionError            54  a device runs another protocol version
│   └── AddressInUseError       55  the port is taken
├── RequestError                60  a request has no answer
│   ├── DeadlineError           61  its deadline passed
│   ├── OverloadedError         62  more is asked than can be answered; try again later
│   ├── UnservedError           63  nobody who is alive can serve it
│   ├── RemoteError             64  a worker failed while running its part
│   ├── PolicyError             65  a policy raised when it was asked
│   └── PoisonError             66  workers died while they ran it
├── StoreError                  70  the part store cannot be read or written (disk full, rights)
│   └── HashError               71  bytes do not match the hash that names them
├── RecordingError              75  a recording of a node cannot be played
│   └── ReplayError             76  played again, the node did something else
├── MissingExtraError           80  an optional dependency is not installed
├── PluginError                 81  what another distribution adds to Shoal cannot be used
└── LabError                    90  the lab cannot do what was asked
    ├── LabFileError            91  a lab file, trace or schedule is wrong
    ├── LabCapacityError        92  the machine cannot hold the lab; its numbers would be wrong
    ├── LabStateError           93  the lab is already up, or not up
    └── LabRightsError          94  it needs root, namespaces, cgroups or a tool that is missing

Each message says what is wrong, with what, and what to do next. The command line turns an
error into its exit code and never shows a traceback for one of these.
"""

from __future__ import annotations

from typing import ClassVar


class ShoalError(Exception):
    """Base of all errors that Shoal raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(ShoalError):
    """An argument or option makes no sense."""

    exit_code = 2


class ForkError(UsageError):
    """Something was used in a process that was forked from the one that made it."""

    exit_code = 3


class ModelError(ShoalError):
    """A network cannot be used."""

    exit_code = 10


class ModelFileError(ModelError):
    """A model file is damaged, truncated, hostile or over a size limit."""

    exit_code = 11


class UnsupportedModelError(ModelError):
    """A network holds what Shoal cannot cut or run."""

    exit_code = 12


class CutError(ModelError):
    """No such cut, or the cuts are not in order."""

    exit_code = 13


class ProofError(ModelError):
    """Parts do not give the answer of the whole network."""

    exit_code = 14


class InputError(ShoalError):
    """Inputs have wrong names, shapes, dtypes or values."""

    exit_code = 20


class DataError(ShoalError):
    """A data set, sample file or checkpoint is missing, damaged or cannot be downloaded."""

    exit_code = 25


class ClusterError(ShoalError):
    """A cluster file is wrong."""

    exit_code = 30


class PlanError(ShoalError):
    """No plan can do what was asked."""

    exit_code = 40


class MeasureError(PlanError):
    """A device that is there could not be measured, so there is no forecast to recommend by."""

    exit_code = 41


class MeshError(ShoalError):
    """Devices cannot talk to each other."""

    exit_code = 50


class FrameError(MeshError):
    """A message is damaged or lies about its lengths."""

    exit_code = 51


class UnreachableError(MeshError):
    """An expected device did not appear."""

    exit_code = 52


class NameTakenError(MeshError):
    """Another live worker has this name."""

    exit_code = 53


class VersionError(MeshError):
    """A device speaks another protocol version."""

    exit_code = 54


class AddressInUseError(MeshError):
    """The address to listen on is taken."""

    exit_code = 55


class RequestError(ShoalError):
    """A request has no answer. ``number`` is the request's, where it is about a single one."""

    exit_code = 60
    number: int | None = None


class DeadlineError(RequestError):
    """The deadline of a request passed before its answer came."""

    exit_code = 61


class OverloadedError(RequestError):
    """Queues are full, or the request was not to be expected to be answered by its deadline: it was
    refused at once. ``retry_after_s`` is when to ask again, as far as it can be told."""

    exit_code = 62
    retry_after_s: float | None = None


class UnservedError(RequestError):
    """Nobody who is alive can serve the request."""

    exit_code = 63


class RemoteError(RequestError):
    """A worker failed while it ran its part."""

    exit_code = 64


class PolicyError(RequestError):
    """A policy raised an exception when it was asked what to do with a request."""

    exit_code = 65


class PoisonError(RequestError):
    """Workers died while they ran the request; it is refused for a while."""

    exit_code = 66


class StoreError(ShoalError):
    """The part store cannot be read or written."""

    exit_code = 70


class HashError(StoreError):
    """Bytes do not match the hash that names them."""

    exit_code = 71


class RecordingError(ShoalError):
    """A recording of a node is damaged, of another version, or needs a policy that is missing."""

    exit_code = 75


class ReplayError(RecordingError):
    """A recording was played again, and the node did something else than it did then."""

    exit_code = 76


class MissingExtraError(ShoalError):
    """An optional dependency is not installed."""

    exit_code = 80


class PluginError(ShoalError):
    """What another distribution adds to Shoal cannot be used."""

    exit_code = 81


class LabError(ShoalError):
    """The lab cannot do what was asked."""

    exit_code = 90


class LabFileError(LabError):
    """A lab file, trace or fault schedule is wrong."""

    exit_code = 91


class LabCapacityError(LabError):
    """The machine cannot hold the lab; its numbers would be wrong."""

    exit_code = 92


class LabStateError(LabError):
    """The lab is already up, or it is not up."""

    exit_code = 93


class LabRightsError(LabError):
    """The lab needs root, namespaces, cgroups or a tool that is missing."""

    exit_code = 94
