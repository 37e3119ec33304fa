"""What a playbook of ``relay`` tells its policy."""

from __future__ import annotations

import msgspec

from shoal.plan.plan import Playbook
from shoal.strategies.relay.rules import Rules


class Settings(msgspec.Struct, frozen=True):
    """``sizes`` are the bytes that enter each stage. What is ``fixed``: the ``accuracy`` or the
    ``rate``. Thresholds never follow the rate below ``loosest``; inputs never begin closer together
    than ``least_gap_s``. ``neighbours`` says to whom each device may give (all, where it is not
    named), ``bytes_per_s`` what links are stated to carry."""

    rules: Rules = Rules()
    sizes: tuple[float, ...] = ()
    fixed: str = "accuracy"
    loosest: float = 0.3
    least_gap_s: float = 0.0
    neighbours: dict[str, tuple[str, ...]] = {}
    bytes_per_s: float = 1e9


def settings_of(playbook: Playbook) -> Settings:
    """The settings of a playbook's policy."""
    return msgspec.convert(playbook.policy.settings, Settings)
