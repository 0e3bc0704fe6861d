"""The command line. Commands are loaded when they run, so ``memdet --help`` imports nothing heavy."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from dataclasses import dataclass
from typing import Any

import click

from memdet.cli.signals import EndedError, heard
from memdet.errors import UserError
from memdet.given_files import NO_LIMITS
from memdet.io_utils import printable

# Name of each command, and what its help says; the module of the same name holds it.
COMMANDS = {
    "run": "Score sample sets with detectors and print the table.",
    "report": "Print the table of finished runs, or write their page.",
    "compare": "Paired tests between two runs, or between the detectors of one.",
    "leaderboard": "Rank all runs below a directory, and write its page.",
    "check": "Compare a run with a baseline: the accuracy gate.",
    "audit": "Show what controls alone can tell of a sample set.",
    "scan": "Rank your own prompts by risk.",
    "extract": "Measure how often a model gives back its own training images.",
    "mitigate": "Generate with mitigations, and show what is still given back.",
    "bench": "Measure throughput, check numerics, or plan for a model that is not at hand.",
    "localize": "Compare maps of where an item is memorized with the truth.",
    "list": "List detectors, mitigations, samples, models or suites.",
    "show": "Say what a detector, mitigation, sample set, suite or model is.",
    "validate-detector": "Check that a detector keeps the contract.",
    "submit": "Check an entry for the leaderboard and pack it.",
    "export": "Describe a sample set for dataset hubs.",
    "push": "Upload a run or a sample set to the Hugging Face hub.",
    "reproduce": "Draw a paper's figures, or make its table again.",
    "zoo": "Build or verify a planted model.",
    "doctor": "Say what works on this machine.",
    "completion": "Print what completes names in your shell.",
}


class LazyGroup(click.Group):
    """Imports a command's module only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of use."""
        return [*COMMANDS]  # the file of `memdet list` takes the name of the built-in here

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"memdet.cli.{cmd_name.replace('-', '_')}").command
        _add_common(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


def _add_common(command: click.Command) -> None:
    """``-v`` and ``--no-limits`` of a command, and of all below it."""
    if not any(parameter.name == "verbose" for parameter in command.params):
        command.params.append(click.Option(["--no-limits"], **_NO_LIMITS))
        command.params.append(click.Option(["-v", "--verbose"], **_VERBOSE))
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _add_common(below)


def _heed(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    if given and isinstance(ctx.obj, Spoken):
        ctx.obj.verbose = True
        os.environ |= dict.fromkeys(("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"), "info")


def _lift(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    if given:
        os.environ[NO_LIMITS] = "1"  # which processes that memdet starts see too


@dataclass
class Spoken:
    """How much a command says.

    Attributes:
        verbose: Also what other packages say, and where an error comes from.
    """

    verbose: bool = False


_VERBOSE: dict[str, Any] = {
    "is_flag": True,
    "expose_value": False,
    "is_eager": True,
    "callback": _heed,
    "help": "Also what other packages say, and where an error comes from.",
}


_NO_LIMITS: dict[str, Any] = {
    "is_flag": True,
    "expose_value": False,
    "is_eager": True,
    "callback": _lift,
    "help": "Read files of any size and any number of rows.",
}


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="memdet")
@click.option("-v", "--verbose", **_VERBOSE)
def group() -> None:
    """Benchmark detectors of memorization in diffusion models."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 an item or a gate failed, 2 wrong usage, 128 + n signal n."""
    # Third-party chatter that would bury the table; a user's own settings win.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    spoken = Spoken()
    try:
        with heard():
            result: Any = group.main(args=arguments, prog_name="memdet", standalone_mode=False, obj=spoken)
    except EndedError as signal:
        click.echo(f"memdet: ended by {signal.name}; the same command resumes a run", err=True)
        return signal.status
    except UserError as error:
        if spoken.verbose:
            click.echo("".join(traceback.format_exception(error)), err=True)
        return _complain(_with_flags(error))
    except click.exceptions.Abort:
        click.echo("memdet: interrupted; the same command resumes a run", err=True)
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        advice = f"; see `{context.command_path} --help`" if context else ""
        return _complain(error.format_message().rstrip(".") + advice)
    except BrokenPipeError:
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}; nothing that was complete is lost")
    except KeyboardInterrupt:
        click.echo("memdet: interrupted; the same command resumes a run", err=True)
        return 130
    return result if isinstance(result, int) else 0


def _with_flags(error: UserError) -> str:
    """The message of the library, with options of the command line where it names parameters."""
    message = str(error)
    for name in error.parameters:
        message = message.replace(f"`{name}`", f"--{name.replace('_', '-')}")
    return message


def _complain(message: str) -> int:
    click.echo("memdet: " + printable(" ".join(message.split())), err=True)
    return 2
