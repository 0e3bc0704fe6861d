"""Tables of the planted models' cards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def table_rows(rows: Iterable[list[object]]) -> str:
    """Rows of a table in Markdown, without its head.

    Example:
        >>> print(table_rows([["seed", 1], ["steps", 9]]))
        | seed | 1 |
        | steps | 9 |
    """
    return "\n".join(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)


def schedule_rows(recipe: dict[str, Any], training: dict[str, Any]) -> list[list[object]]:
    """How a model of one network was trained.

    Args:
        recipe: Its fields, with a ``schedule``.
        training: What the training gave, with its ``loss``.
    """
    schedule = recipe["schedule"]
    return [
        ["seed", recipe["seed"]],
        ["batch size", recipe["batch_size"]],
        ["steps", schedule["steps"]],
        ["peak learning rate", schedule["learning_rate"]],
        ["warm-up steps", schedule["warmup"]],
        ["weight decay", schedule["weight_decay"]],
        ["gradient norm at most", schedule["clip"]],
        ["weight average", schedule["average"]],
        ["loss over the last steps", training["loss"]],
    ]
