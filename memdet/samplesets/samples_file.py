"""A user's own items with labels."""

from __future__ import annotations

import math
from pathlib import Path

from memdet.samplesets.fetch import Fetcher
from memdet.samplesets.file_formats import RawTable
from memdet.samplesets.items import check_items, default_id
from memdet.samplesets.prompt_table import Wanted, read_prompt_table, say_not_read


def read_samples(
    path: Path, model: str, column: str | None = None, fetcher: Fetcher | None = None
) -> tuple[RawTable, str]:
    """Read prompts with labels, in a format of :func:`~memdet.samplesets.prompt_table.read_prompt_table`.

    What is not read is said on standard error.

    Args:
        path: The file; ``id``, ``cluster``, ``stratum`` and ``extraction_rate`` are optional columns or keys.
        model: The model of all items.
        column: Of the prompts; found by its usual names if not given.
        fetcher: Where data sets of the hub may come from; the hub and its cache if not given.

    Returns:
        A table with memdet's own columns, and the SHA-256 of the file.

    Raises:
        UserError: Missing file, no labels, or a line with a mistake.
    """
    wanted = Wanted(column, labels=True, optional=("id", "cluster", "stratum", "extraction"))
    found = read_prompt_table(path, wanted, fetcher=fetcher)
    given = found.table.columns
    n = len(given["prompt"])
    nothing = [None] * n
    ids = [name or default_id(number) for number, name in enumerate(given.get("id", nothing), start=1)]
    columns = {
        "item_id": ids,
        "condition": given["prompt"],
        "label": given["label"],
        "cluster": [name or item for name, item in zip(given.get("cluster", nothing), ids, strict=True)],
        "stratum": [name or "all" for name in given.get("stratum", nothing)],
        "split": ["test"] * n,
        "model": [model] * n,
        "extraction": given.get("extraction", [math.nan] * n),
        "image": [None] * n,
    }
    table = RawTable(path, columns, found.table.lines, found.table.unit)
    check_items(table, 'write "memorized": 1 for the memorized prompts and 0 for the others')
    say_not_read(found)
    return table, found.sha256
