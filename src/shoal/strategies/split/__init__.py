"""The network between a weak device and a strong server: cut and precision chosen together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.strategies.split.build import strategy

__all__ = ["strategy"]


def __getattr__(name: str) -> Any:
    """Load ``build`` when it is asked for: a worker needs the policies only."""
    if name == "strategy":
        from shoal.strategies.split.build import strategy

        return strategy
    raise AttributeError(name)
