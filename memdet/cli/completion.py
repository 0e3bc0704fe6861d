"""``memdet completion``, and what a shell offers for names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem

SHELLS = ("bash", "zsh", "fish")
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script with which a shell completes commands, options and names.

    bash: memdet completion bash >> ~/.bashrc. zsh: the same with ~/.zshrc. fish: memdet completion fish >
    ~/.config/fish/completions/memdet.fish.
    """
    from click.shell_completion import get_completion_class

    from memdet.cli import group

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(group, {}, "memdet", "_MEMDET_COMPLETE").source())


def detector_names() -> list[str]:
    """Names of detectors and controls."""
    from memdet.detectors import detector_classes

    return list(detector_classes())


def mitigation_names() -> list[str]:
    """Names of mitigations."""
    from memdet.mitigation import mitigation_classes

    return list(mitigation_classes())


def set_names() -> list[str]:
    """Ids of sample sets."""
    from memdet.samplesets import sample_set_ids

    return sample_set_ids()


def suite_names() -> list[str]:
    """Names of suites."""
    from memdet.samplesets import suite_names as names

    return names()


def model_names() -> list[str]:
    """Names of the models that come with memdet."""
    from memdet.models import model_names as names

    return names()


def offered(*kinds: Callable[[], Iterable[str]], listed: bool = False) -> Complete:
    """What completes an argument or option.

    Args:
        kinds: Each gives names; what cannot be read offers none.
        listed: Whether several names may stand there with commas between them.
    """

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, begun = incomplete.rpartition(",") if listed else ("", "", incomplete)
        found: dict[str, Any] = {}
        for kind in kinds:
            try:
                found |= dict.fromkeys(kind())
            except Exception:  # a broken plugin must not break a shell's prompt
                continue
        return [CompletionItem(f"{before}{comma}{name}") for name in sorted(found) if name.startswith(begun)]

    return complete
