"""The codec ``jpeg``: ``jpeg:QUALITY``."""

from __future__ import annotations

from shoal.codec.codecs import Codec
from shoal.codec.images import Images
from shoal.codec.settings import Settings

QUALITIES = range(1, 96)


def make(settings: str) -> Codec:
    """The codec of ``jpeg:settings``."""
    given = Settings("jpeg", settings)
    quality = given.first_number("QUALITY", QUALITIES, default=90)
    given.end()
    return Images("JPEG", {"quality": quality})
