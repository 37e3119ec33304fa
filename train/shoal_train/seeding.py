"""One seed for a whole training, and from it a source of chance for each purpose.

Every source is made from the seed, a purpose and a number (such as the epoch) alone. So nothing
has to be carried along: a training that was interrupted draws on the very same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A number of 63 bits for ``purpose``, the same on every machine."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A generator for ``purpose``, on the CPU."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


@contextmanager
def reproducible(seed: int, *purpose: str | int) -> Iterator[None]:
    """PyTorch's own chance (initial weights) comes from ``seed``, and its kernels are
    deterministic; both are as before afterwards.
    """
    before = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(derive(seed, *purpose))
        torch.use_deterministic_algorithms(True)
        # Only a help against reading memory that was never written; it costs a quarter of the time.
        torch.utils.deterministic.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            torch.utils.deterministic.fill_uninitialized_memory = fill
