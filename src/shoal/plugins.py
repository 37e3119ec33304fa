"""What other distributions add to Shoal: entry points, each loaded when it is needed.

The groups are ``shoal.commands`` (:mod:`shoal.cli.app`), ``shoal.observers``
(:mod:`shoal.runtime.observer`), ``shoal.strategies``, ``shoal.policies`` and ``shoal.zoo``
(:mod:`shoal.zoo.making`).
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from shoal.errors import PluginError


def plugins(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name; of two with one name that which Python finds first.
    Nothing is loaded. PluginError when the metadata of a distribution cannot be read."""
    try:
        return {entry.name: entry for entry in reversed(tuple(entry_points(group=group)))}
    except Exception as error:
        raise PluginError(
            f"what is installed beside Shoal cannot be listed ({group}): {_words(error)}; pip "
            "check may name the distribution that is damaged"
        ) from error


def load(entry: EntryPoint) -> object:
    """What an entry point names; PluginError when that cannot be loaded, whatever it raises."""
    try:
        return entry.load()
    except Exception as error:
        raise PluginError(f"{of(entry)} cannot be loaded: {_words(error)}") from error


def of(entry: EntryPoint) -> str:
    """An entry point in words, with the distribution that brings it."""
    where = "" if entry.dist is None else f" of {entry.dist.name} {entry.dist.version}"
    return f"{entry.name!r} ({entry.value}{where})"


def summary(entry: EntryPoint) -> str:
    """The line with which the distribution of an entry point describes itself, if there is one."""
    try:
        found = entry.dist and entry.dist.metadata["Summary"]
    except Exception:  # damaged metadata: there is no line
        return ""
    return found or ""


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
