"""The codec ``jpeg``: ``jpeg:QUALITY[,full]``.

Without ``full`` colour has half the rows and columns of brightness, as in most JPEGs (4:2:0).
"""

from __future__ import annotations

from shoal.codec.codecs import Codec
from shoal.codec.images import Images
from shoal.codec.settings import Settings

QUALITIES = range(1, 101)
FULL, HALVED = "4:4:4", "4:2:0"


def make(settings: str) -> Codec:
    """The codec of ``jpeg:settings``."""
    given = Settings("jpeg", settings)
    quality = given.first_number("QUALITY", QUALITIES, default=90)
    colour = FULL if given.flag("full") else HALVED
    given.end()
    return Images("JPEG", {"quality": quality, "subsampling": colour})
