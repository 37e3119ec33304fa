"""Why devices are not there: what is found at their addresses."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from shoal.mesh.address import dial, parse_address
from shoal.mesh.link import Link

AT_ONCE = 16
"""Addresses that are looked at together: one where nobody replies takes a second."""


def look_for(link: Link, addresses: Mapping[str, str]) -> dict[str, str]:
    """What is found at the addresses of devices that are not seen, in words, by device; nothing of
    those that answer as they should."""
    if not addresses:
        return {}
    with ThreadPoolExecutor(min(AT_ONCE, len(addresses)), "shoal-look") as pool:
        found = pool.map(lambda item: _look(link, *item), addresses.items())
        return {name: text for name, text in zip(addresses, found, strict=True) if text}


def _look(link: Link, name: str, address: str) -> str:
    why = dial(parse_address(address))
    if why:
        return f"{address}: {why}"
    who = link.who(address)
    return f"at {address} answers a node named {who}, not {name}" if who not in (None, name) else ""
