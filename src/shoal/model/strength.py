"""How much a proof says."""

from __future__ import annotations

import msgspec


class Strength(msgspec.Struct, frozen=True):
    """How much a proof says. ``inputs`` names what it was made on, ``images`` how many; parts may
    be off by ``tolerance`` of the largest value of each piece of an output. ``weak`` if some piece
    could hardly be another whatever the parts did; ``why`` says which, and what would make the
    proof strong."""

    inputs: str
    images: int
    tolerance: float
    weak: bool = False
    why: str = ""

    def __str__(self) -> str:
        said = f"on {self.images} images ({self.inputs}), to {self.tolerance:.2g}"
        return f"weak, {said}: {self.why}" if self.weak else said
