"""Sub-networks of one network that answer alone, for many images, or together, more accurately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.strategies.fluid.build import strategy

__all__ = ["strategy"]


def __getattr__(name: str) -> Any:
    """Load ``build`` when it is asked for: a worker needs the policies only."""
    if name == "strategy":
        from shoal.strategies.fluid.build import strategy

        return strategy
    raise AttributeError(name)
