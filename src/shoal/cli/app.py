"""The tree of commands. A group's module is imported when its command is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

COMMANDS = (
    *("demo", "inspect", "profile", "plan", "worker", "run", "replay"),
    *("bench", "zoo", "train", "lab"),
)
"""In the order of the help. Each is the module of its name here, which holds ``app``."""


class LazyGroup(TyperGroup):
    """A group whose commands are modules, imported on first use."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Names only, so that a mistyped command gets a suggestion without importing them all.
        self.commands: Any = dict.fromkeys(COMMANDS)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = get_command(import_module(f"shoal.cli.{cmd_name}").app)
        command.name = cmd_name
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
