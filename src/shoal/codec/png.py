"""The codec ``png``: exact."""

from __future__ import annotations

from shoal.codec.codecs import Codec
from shoal.codec.images import Images
from shoal.codec.settings import Settings


def make(settings: str) -> Codec:
    """The codec ``png``; UsageError for settings, which it does not take."""
    Settings("png", settings).end()
    return Images("PNG", {})
