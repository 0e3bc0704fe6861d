"""Two files of prompts as one sample set: the memorized ones and the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memdet.samplesets.fetch import Fetcher
from memdet.samplesets.items import content_hash, items_frame
from memdet.samplesets.names import id_of_file
from memdet.samplesets.prompt_table import Wanted, read_prompt_table
from memdet.samplesets.sample_set import SampleSet
from memdet.samplesets.spec import Protocol


def load_prompt_pair(
    memorized: Path, control: Path, *, column: str | None = None, fetcher: Fetcher | None = None
) -> SampleSet:
    """Load two files of prompts, without a model.

    Args:
        memorized, control: In a format of :func:`~memdet.samplesets.prompt_table.read_prompt_table`.
        column: Of the prompts; found by its usual names if not given.
        fetcher: Where data sets of the hub may come from; the hub and its cache if not given.

    Returns:
        A set of the two, every prompt a cluster of its own; its name is those of the files.

    Raises:
        UserError: A file is missing or damaged, or holds no prompts.
    """
    rows: list[tuple[str, str, int]] = []
    hashes = []
    for label, path in ((1, memorized.expanduser()), (0, control.expanduser())):
        found = read_prompt_table(path, Wanted(column), fetcher=fetcher)
        hashes.append(found.sha256)
        prompts = found.table.columns["prompt"]
        rows += [(f"{'memorized' if label else 'control'}-{n:05d}", p, label) for n, p in enumerate(prompts, start=1)]
    ids = [name for name, _, _ in rows]
    title = f"{memorized.name} against {control.name}"
    protocol = Protocol(steps=50, guidance=7.5, seeds=1, noise="shared")
    items: dict[str, list[Any]] = {
        "item_id": ids,
        "condition": [prompt for _, prompt, _ in rows],
        "label": [label for _, _, label in rows],
        "cluster": ids,
        "stratum": ["all"] * len(rows),
        "split": ["test"] * len(rows),
        "model": [""] * len(rows),
        "extraction": [float("nan")] * len(rows),
        "image": [None] * len(rows),
    }
    return SampleSet(
        id=id_of_file(title),
        version=1,
        title=title,
        task="prompt",
        model=None,
        protocol=protocol,
        items=items_frame(items),
        has_prompts=True,
        content_hash=content_hash({"prompts": title}, "\n".join(hashes)),
        spec=None,
    )
