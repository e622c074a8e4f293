"""`streamd`: finds the verbs, hands them the configuration file, and says errors in plain words."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from streamd import __version__
from streamd.errors import StreamdError
from streamd.settings import DEFAULT_FILE, FILE_VARIABLE, config_path

INTERRUPTED = 130

VERBS = {
    "init": "streamd.cli.init:init",
    "check": "streamd.cli.check:check",
    "install": "streamd.cli.install:install",
    "uninstall": "streamd.cli.install:uninstall",
    "run": "streamd.cli.run:run",
    "status": "streamd.cli.status:status",
    "keys": "streamd.cli.keys:keys",
    "consumers": "streamd.cli.consumers:consumers",
    "producers": "streamd.cli.producers:producers",
    "log": "streamd.cli.log:log",
    "resync": "streamd.cli.resync:resync",
    "discard": "streamd.cli.resync:discard",
    "demo": "streamd.cli.demo.command:demo",
}
"""In the order in which people need them."""

EXIT_CODES = """\b
Exit codes:
  0    success (`check`: no problem, or warnings only)
  1    something failed (`check`: a problem outside of the configuration)
  2    the configuration or the command is invalid
  3    streamd is not installed in the database: `streamd install`
  4    another daemon works on this site's database
  5    there is no such consumer, producer, key or log entry
  6    something needs attention (`status --check`)
  130  interrupted
"""


class Verbs(click.Group):
    """The top of the command line. Verbs are imported when they are asked for, and all take `--config`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = VERBS.get(cmd_name)
        if target is None:
            return None
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return _with_config(command)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StreamdError as error:
            click.echo(str(error), err=True)
            ctx.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


def _remember(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.find_root().obj = Path(value)


def _config_option() -> click.Option:
    return click.Option(
        ["--config"],
        metavar="FILE",
        expose_value=False,
        is_eager=True,
        callback=_remember,
        help=f"The configuration file (default: ${FILE_VARIABLE}, else {DEFAULT_FILE}).",
    )


def _with_config(command: click.Command) -> click.Command:
    if all(parameter.name != "config" for parameter in command.params):
        command.params.append(_config_option())
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _with_config(inner)
    return command


def chosen_config(ctx: click.Context) -> Path:
    """The configuration file that `--config`, the environment, or the default names."""
    given = ctx.find_root().obj
    return given if isinstance(given, Path) else config_path()


@click.group(
    cls=Verbs,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[_config_option()],
)
@click.version_option(__version__, prog_name="streamd")
def cli() -> None:
    """Keep documents of several sites in sync, each with its own SQL database.

    Start with `streamd init DATABASE`, then run `streamd install`, `streamd check` and
    `streamd run`. To see streamd at work first, run `streamd demo`.
    All commands work whether the daemon runs or not.
    """


def main() -> None:
    """Run what the command line says. What cannot be written is said in one line, also at the very end."""
    code: int | str | None = 0
    try:
        try:
            cli(prog_name="streamd")
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of_output()
        code = code or 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        _let_go_of_output()
        print(f"the output cannot be written: {error.strerror}", file=sys.stderr)
        code = 1
    sys.exit(code)


def _let_go_of_output() -> None:
    """The interpreter tries to write at its exit what is left in its buffers, and complains: nowhere is a place."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
