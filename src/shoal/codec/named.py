"""A codec for each tensor of a stage, in one string: ``others;TENSOR=CODEC;TENSOR=CODEC``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from shoal.errors import UsageError

MAX_PARTS = 257
MAX_LENGTH = 1 << 15
_ESCAPES = (("%", "%25"), (";", "%3B"), ("=", "%3D"))


def write(codecs: Mapping[str, str], others: str = "raw") -> str:
    """The string that gives each named tensor its codec, and ``others`` to the rest."""
    parts = [f"{_escaped(name)}={codec}" for name, codec in codecs.items() if codec != others]
    return ";".join([others, *parts])


def codec_of(codecs: str, tensor: str) -> str:
    """The codec of ``tensor`` in ``codecs``, which may also be the name of a single codec.

    Raises UsageError when ``codecs`` cannot be read.
    """
    if ";" not in codecs and "=" not in codecs:
        return codecs
    named, others = _parts(codecs)
    return named.get(tensor, others)


def kinds(codecs: str) -> set[str]:
    """The names of the codecs in ``codecs``, without their settings."""
    named, others = _parts(codecs)
    return {codec.partition(":")[0] for codec in (others, *named.values())}


EXACT = frozenset({"raw", "lossless", "png"})


def exact(codecs: str) -> bool:
    """Whether what arrives is what was sent, whatever is packed with ``codecs``. A codec that is
    not known here is not."""
    return kinds(codecs) <= EXACT


def check(codecs: str) -> None:
    """UsageError when ``codecs`` cannot be read or names a codec that there is not."""
    from shoal.codec.codecs import find_codec  # NumPy, which those who only decide do not load

    named, others = _parts(codecs)
    for codec in {others, *named.values()}:
        find_codec(codec)


@lru_cache(maxsize=64)
def _parts(codecs: str) -> tuple[dict[str, str], str]:
    if len(codecs) > MAX_LENGTH:
        raise UsageError(
            f"the codecs of a stage take {len(codecs)} characters; {MAX_LENGTH} is the limit"
        )
    parts = codecs.split(";")
    if len(parts) > MAX_PARTS:
        raise UsageError(f"{len(parts)} codecs are given for a stage; {MAX_PARTS} is the limit")
    named: dict[str, str] = {}
    others: list[str] = []
    for part in parts:
        name, equals, codec = part.rpartition("=")
        name = _unescaped(name)
        if not equals:
            others.append(codec)
            continue
        if name in named:
            raise UsageError(f"the codec of tensor {name[:64]!r} is given twice")
        named[name] = codec
    if len(others) > 1:
        raise UsageError(
            f"two codecs, {others[0][:64]!r} and {others[1][:64]!r}, are given for all other "
            "tensors; write TENSOR=CODEC for one of them"
        )
    return named, others[0] if others else "raw"


def _escaped(name: str) -> str:
    for plain, escape in _ESCAPES:
        name = name.replace(plain, escape)
    return name


def _unescaped(name: str) -> str:
    for plain, escape in reversed(_ESCAPES):
        name = name.replace(escape, plain)
    return name
