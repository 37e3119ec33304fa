"""Plans and playbooks, clusters, forecasts and search.

``shoal.plan`` is this package, and also what a user calls to make a playbook: the package is
called as :func:`shoal.runtime.planning.plan`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.plan.plan import Playbook


class _Callable(ModuleType):
    """A module that can be called."""

    def __call__(self, *args: Any, **options: Any) -> Playbook:
        from importlib import import_module

        made: Playbook = import_module("shoal.runtime.planning").plan(*args, **options)
        return made


sys.modules[__name__].__class__ = _Callable
