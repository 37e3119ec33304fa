"""The settings of a codec: ``"channel,clip:0:4.5,bits,lz4"``, words with arguments after colons."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from shoal.codec.compress import COMPRESSORS, LEVELS, QUICK, Compressor, compressor
from shoal.errors import UsageError


class Settings:
    """Takes settings out one by one; :meth:`end` refuses what nobody took."""

    def __init__(self, codec: str, text: str) -> None:
        self._codec = codec
        words = text.split(",") if text else []
        self._words = [tuple(word.split(":")) for word in words]

    def first_number(self, what: str, allowed: Collection[int], default: int | None = None) -> int:
        """The number that stands first: ``what``, one of ``allowed``."""
        if self._words and len(self._words[0]) == 1:
            text = self._words[0][0]
            if is_number(text):
                self._words.pop(0)
                if int(text) in allowed:
                    return int(text)
                raise self._wrong(f"{what} must be one of {_several(map(str, allowed))}")
        if default is not None:
            return default
        raise self._wrong(f"{what} must come first, one of {_several(map(str, allowed))}")

    def flag(self, word: str) -> bool:
        """Whether ``word`` stands there, without arguments."""
        return self._take({word}, arguments=0) is not None

    def one_of(self, words: Collection[str], default: str) -> str:
        """Which of ``words`` stands there."""
        found = self._take(words, arguments=0)
        return found[0] if found else default

    def span(self, word: str) -> tuple[float, float] | None:
        """The two numbers after ``word``, the lower first."""
        found = self._take({word}, arguments=2)
        if found is None:
            return None
        try:
            low, high = float(found[1]), float(found[2])
        except ValueError:
            low = high = math.nan
        if not -1e30 <= low < high <= 1e30:
            raise self._wrong(f"{word}:LOW:HIGH needs two numbers, LOW below HIGH")
        return low, high

    def compressor(self) -> Compressor:
        """The compressor that stands there, or Zstandard at its quickest."""
        found = self._take(COMPRESSORS, arguments=None)
        if found is None:
            return compressor("zstd", QUICK)
        if len(found) == 1:
            return compressor(found[0], QUICK)
        if found[0] == "zstd" and len(found) == 2 and is_number(found[1]):
            level = int(found[1])
            if level in LEVELS:
                return compressor("zstd", level)
        raise self._wrong(f"a compressor is none, lz4, zstd or zstd:{LEVELS[0]} to {LEVELS[-1]}")

    def end(self) -> None:
        """UsageError if a setting is left over: it is unknown, repeated or contradicts another."""
        if self._words:
            word = ":".join(self._words[0])
            raise self._wrong(f"{word[:64]!r} is unknown, repeated or contradicts another setting")

    def _take(self, words: Collection[str], arguments: int | None) -> tuple[str, ...] | None:
        for index, word in enumerate(self._words):
            if word[0] in words:
                if arguments is not None and len(word) - 1 != arguments:
                    raise self._wrong(f"{word[0]} takes {arguments} numbers after colons")
                return self._words.pop(index)
        return None

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"codec {self._codec}: {what} (see docs/codec.md)")


def is_number(text: str) -> bool:
    """Whether ``text`` is a short number of plain digits."""
    return text.isascii() and text.isdigit() and len(text) <= 3


def _several(words: Iterable[str]) -> str:
    words = list(words)
    return f"{words[0]} to {words[-1]}" if len(words) > 10 else ", ".join(words)
