"""Networks that do not ship: copied from a package that has them, or made on this machine by a
distribution that can.

Such a distribution has an entry point in the group ``shoal.zoo`` with the name of the network: a
function that is given a folder and writes the network and its card there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shoal import plugins
from shoal.errors import DataError, HashError, MissingExtraError, PluginError
from shoal.zoo.entries import MADE, folder, path
from shoal.zoo.packaged import PACKAGED, copy

GROUP = "shoal.zoo"


def make(name: str, say: Callable[[str], None] = lambda text: None) -> Path:
    """The file of the network ``name``, made first where that is needed; ``say`` hears of that.

    Raises UsageError for an unknown name, MissingExtraError without what making it takes,
    PluginError where that cannot be used.
    """
    try:
        return path(name)
    except (DataError, HashError):  # not made yet, or damaged since
        if name not in MADE:
            raise
    if name in PACKAGED:
        say(f"copying {name} to {folder(name)}")
        copy(name, folder(name))
        return path(name)
    found = plugins.plugins(GROUP)
    if name not in found:
        raise MissingExtraError(
            f"{name} is made by shoal-train, which is not installed: in a checkout of Shoal, "
            "pip install './train[efficientnet]'"
        )
    build = plugins.load(found[name])
    if not callable(build):
        raise PluginError(f"what makes {plugins.of(found[name])} is no function")
    say(f"making {name} in {folder(name)}")
    build(folder(name))
    return path(name)
