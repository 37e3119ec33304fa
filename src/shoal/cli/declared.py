"""The options of strategies as flags: ``--rho 0.25`` for an option ``rho``, whoever brings it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from typer.core import TyperCommand

from shoal.errors import UsageError


class WithDeclared(TyperCommand):
    """A command that also takes, as ``ctx.obj``, what the installed strategies declare. A name that
    it has itself stays its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = self._own()
        if not any(arg.startswith("--") and arg.partition("=")[0] not in own for arg in args):
            ctx.obj = {}
            return super().parse_args(ctx, args)
        from shoal.strategies.options import flag

        flags = {flag(name): name for names in declared().values() for name in names}
        rest, ctx.obj = taken(args, {flag: flags[flag] for flag in flags.keys() - own})
        return super().parse_args(ctx, rest)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from shoal.strategies.options import flag

        own = self._own()
        lines = []
        for name, options in declared().items():
            free = [each for each in map(flag, options) if each not in own]
            lines += [f"{name}: {', '.join(free)}"] if free else []
        self.epilog = "**Options of strategies** (docs/): " + "; ".join(lines) + "."
        super().format_help(ctx, formatter)

    def _own(self) -> set[str]:
        """The flags of the command itself."""
        return {flag for parameter in self.params for flag in parameter.opts}


def declared() -> dict[str, tuple[str, ...]]:
    """The names of the options of each strategy that is installed."""
    from shoal.strategies.base import all_strategies

    return {each.name: each.options.__struct_fields__ for each in all_strategies()}


def taken(args: Sequence[str], flags: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """``args`` without these flags, and the values that they are given, by the names that
    ``flags`` has; UsageError for one without a value, or given twice."""
    rest: list[str] = []
    given: dict[str, str] = {}
    left = iter(args)
    for arg in left:
        flag, sign, value = arg.partition("=")
        if arg == "--":
            rest += [arg, *left]
        elif flag not in flags:
            rest.append(arg)
        else:
            given |= {flags[flag]: _value(flag, value if sign else next(left, None), given, flags)}
    return rest, given


def _value(flag: str, value: str | None, given: Collection[str], flags: Mapping[str, str]) -> str:
    if value is None or value in flags:
        raise UsageError(f"{flag} needs a value: write {flag} VALUE")
    if flags[flag] in given:
        raise UsageError(f"{flag} is given twice: say it once")
    return value
