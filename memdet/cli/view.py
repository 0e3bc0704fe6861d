"""How a command shows its tables: ``--wide``, ``--sort``, ``--limit`` and ``--top``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from memdet.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])
_ORDER = ("sort", "limit", "top")


def view(*, writes: bool = True, top: bool = False) -> Callable[[F], F]:
    """The options of a command that prints tables, which it does not see itself; stands above ``into``.

    Args:
        writes: Whether its ``--out`` takes the table, which then has all columns.
        top: Whether its tables rank detectors, so that ``--top`` has a meaning.
    """
    own = _ORDER if top else _ORDER[:-1]

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def shown(**given: Any) -> Any:
            from memdet.tables import screen

            wide, orders = given.pop("wide"), {name: given.pop(name) for name in own}
            asked = next((name for name, value in orders.items() if value is not None), None)
            if asked is not None and given.get("form", "table") != "table":
                told = f"--format {given['form']} holds all rows in the order of the command"
                raise UserError(f"`{asked}` is of the table on a screen; {told}: leave one out", parameters=(asked,))
            wide = wide or (writes and given.get("out") is not None)
            with screen.shown(screen.View(wide, **orders)):
                return command(**given)

        rows = click.IntRange(min=1)
        added: Any = shown
        if top:
            added = click.option("--top", type=rows, metavar="N", help="The N best of each table, and controls.")(added)
        added = click.option("--limit", type=rows, metavar="N", help="Rows of each table at most.")(added)
        added = click.option("--sort", metavar="COLUMN", help="Best first, by this column of the table.")(added)
        text = "All columns, however wide the screen is."
        return cast(F, click.option("--wide", is_flag=True, help=text)(added))

    return decorate
