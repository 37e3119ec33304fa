"""A promise in words: how much of what the whole network answers, how sure, and on what images."""

from __future__ import annotations

import msgspec

from shoal.errors import DataError


class Promised(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a promise stands on: ``measured`` says what is a share of what (``boxes (F1 at IoU
    0.5)``). Of ``images`` those are ``counted`` that say something, and that the whole network gets
    right, where that is known (``labelled``)."""

    measured: str
    images: int
    counted: int
    confidence: float
    labelled: bool = False

    def least(self, share: float) -> str:
        """That at least this share is kept."""
        return f"at least {share:.3g} {self.words}"

    @property
    def words(self) -> str:
        """Of what, on which images, and how sure."""
        right = "right " if self.labelled else ""
        return (
            f"of the whole network's {right}{self.measured}, measured on {self.basis}, sure to "
            f"{100 * self.confidence:.3g} %"
        )

    @property
    def basis(self) -> str:
        """The images that counted."""
        if self.counted == self.images:
            return f"{self.images} images"
        why = "that it gets right" if self.labelled else "that show something"
        return f"{self.counted} of {self.images} images ({why})"


def check_says(said: int, images: int, measured: str) -> None:
    """DataError where the whole network finds nothing in any of so many images."""
    if not said:
        raise DataError(
            f"calibrate: the whole network finds nothing in any of the {images} images "
            f"({measured}), so they do not tell what is kept of it; give images that show what it "
            "looks for"
        )
