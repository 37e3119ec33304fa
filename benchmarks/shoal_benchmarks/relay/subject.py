"""The network with exits, and images that its exits have not seen."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shoal import zoo
from shoal.cache import cache_folder, is_file
from shoal.errors import DataError
from shoal.model.network import Network
from shoal.model.network import load as load_network
from shoal.model.profiles import profile
from shoal.plan.network import Array, RangeProfile
from shoal_benchmarks.relay.widen import widened
from shoal_benchmarks.subjects import FASHION

log = logging.getLogger("shoal")

VARIABLE = "SHOAL_DATA"
DATA = "fashion-mnist"
WIDER = 4
COUNT = 2000
"""Images that are asked for, of the end of the test set."""


class Subject(NamedTuple):
    """A network with exits, what it takes on this machine, images and their labels."""

    network: Network
    measured: RangeProfile
    images: Sequence[Array]
    labels: Sequence[int]


@cache
def subject() -> Subject | None:
    """The small network that ships, made ``WIDER`` as it takes no longer than a message else, with
    exits that are trained here, in some minutes, and kept in the cache; None, and a line in the
    log, without Fashion-MNIST."""
    if not (Path(os.environ.get(VARIABLE, "")) / DATA).is_dir():
        log.warning("no rows for relay: %s names no folder with %s", VARIABLE, DATA)
        return None
    from shoal_train import datasets
    from shoal_train.exits.job import Job, run

    plain = load_network(widened(Path(zoo.path(FASHION)), WIDER), name=f"{FASHION}, wider")
    out = cache_folder() / "bench" / f"exits-{plain.hash[:16]}.onnx"
    try:
        data = datasets.load(DATA)
        if not is_file(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            run(Job(plain, out, DATA), lambda what, share: print(what, file=sys.stderr))
    except DataError as error:
        log.warning("no rows for relay: %s", error)
        return None
    network = load_network(out, name=f"{FASHION} with exits")
    images = data.test.images[-COUNT:].astype(np.float32) / 255
    labels = [int(label) for label in data.test.labels[-COUNT:]]
    measured = profile(network, refresh=True)
    return Subject(network, measured, [image[None] for image in images], labels)
