"""The tree of commands. A group's module is imported when its command is asked for.

Other distributions add commands by entry points in the group ``shoal.commands``, each of which
names a ``typer.Typer``. They too are loaded when their command is asked for; their line in the help
is the summary of their distribution.
"""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from shoal.errors import MissingExtraError, PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

COMMANDS = ("demo", "inspect", "profile", "plan", "simulate", "worker", "run", "replay", "zoo")
"""In the order of the help. Each is the module of its name here, which holds ``app``."""
GROUP = "shoal.commands"
ELSEWHERE = {
    "bench": "the benches are not installed: in a checkout of Shoal, make bench BENCH=NAME "
    "(docs/bench.md)",
    "lab": "the lab is not installed: in a checkout of Shoal, pip install ./lab (shoal-lab)",
    "train": "training is not installed: in a checkout of Shoal, pip install ./train (shoal-train)",
}
"""Commands of distributions that live beside Shoal's, and how to get them."""


class LazyGroup(TyperGroup):
    """A group whose commands are modules, imported on first use."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Names only, so that a mistyped command gets a suggestion without importing them all.
        self.commands: Any = dict.fromkeys((*COMMANDS, *ELSEWHERE))

    @cached_property
    def _added(self) -> dict[str, EntryPoint]:
        """What others bring; a name of ours stays ours. (Looked up late, as it takes memory that a
        worker has no use for.)"""
        from shoal import plugins
        from shoal.cli.output import stderr

        try:
            found = plugins.plugins(GROUP)
        except PluginError as error:
            stderr().print(f"warning: {error}", style="yellow", soft_wrap=True)
            return {}
        return {name: found[name] for name in sorted(found) if name not in COMMANDS}

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *self._added]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS:
            return _named(import_module(f"shoal.cli.{cmd_name}").app, cmd_name)
        if cmd_name in self._added:
            return Added(self._added[cmd_name])
        if cmd_name in ELSEWHERE:
            raise MissingExtraError(ELSEWHERE[cmd_name])
        self.commands |= dict.fromkeys(self._added)
        return None


class Added(TyperCommand):
    """A command of another distribution, which stands in the help without being loaded."""

    def __init__(self, entry: EntryPoint) -> None:
        from shoal import plugins

        super().__init__(entry.name, help=plugins.summary(entry))
        self._entry = entry

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """That of the command itself; PluginError when it cannot be had."""
        from shoal import plugins

        app = plugins.load(self._entry)
        if not isinstance(app, typer.Typer):
            raise PluginError(f"the command {plugins.of(self._entry)} is no typer.Typer")
        return _named(app, self._entry.name).make_context(info_name, args, parent=parent, **extra)


def _named(app: typer.Typer, name: str) -> Any:
    command = get_command(app)
    command.name = name
    return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # so that the paragraphs of a help are filled
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"shoal {version('shoal')}")
        raise typer.Exit


@app.callback()
def shoal(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """One trained CNN, answered by several weak, far or unreliable devices."""
