"""Files of prompts without labels, and the sample set of a scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from memdet.errors import UserError
from memdet.samplesets.evidence import joined_clusters, same_text
from memdet.samplesets.fetch import Fetcher
from memdet.samplesets.items import content_hash
from memdet.samplesets.prompt_table import Wanted, read_prompt_table
from memdet.samplesets.sample_set import SampleSet
from memdet.samplesets.spec import Protocol


@dataclass(frozen=True)
class Prompt:
    """A prompt of a file.

    Attributes:
        text: As written; a line of a text file without the white space around it.
        id: From the file, or made of the line.
        cluster: Family of near-duplicates; its own id where the file names none. Texts that are the same but for case,
            white space and the composition of characters are one family.
        lines: All lines of the file that hold this text, from 1.
    """

    text: str
    id: str
    cluster: str
    lines: tuple[int, ...]


@dataclass(frozen=True)
class PromptFile:
    """What a file of prompts holds.

    Attributes:
        path: The file.
        prompts: Each text once, in the order of their first lines.
        sha256: Of the file.
        not_read: Keys or columns of the file that say nothing to memdet.
    """

    path: Path
    prompts: Sequence[Prompt]
    sha256: str
    not_read: tuple[str, ...] = ()

    @property
    def n_lines(self) -> int:
        """Prompts, repeats included."""
        return sum(len(prompt.lines) for prompt in self.prompts)


def read_prompts(path: str | Path, *, column: str | None = None, fetcher: Fetcher | None = None) -> PromptFile:
    """Read prompts without labels, in a format of :func:`~memdet.samplesets.prompt_table.read_prompt_table`.

    A file may name an ``id`` and a ``cluster``; whatever else it holds is not read, and named as such. A text that
    comes more than once is one prompt with several lines, under the id and cluster of the first.

    Args:
        path: The file, UTF-8, or a data set of the hub.
        column: Of the prompts; found by its usual names if not given.
        fetcher: Where data sets of the hub may come from; the hub and its cache if not given.

    Raises:
        UserError: Missing file, another format or encoding, no prompts, or a line with a mistake.
    """
    path = Path(path).expanduser()
    read = read_prompt_table(path, Wanted(column, optional=("id", "cluster")), fetcher=fetcher)
    table, columns = read.table, read.table.columns
    found: dict[str, list[int]] = {}
    owners: dict[str, tuple[str, int]] = {}
    first: dict[str, tuple[str, str]] = {}  # id and cluster
    n = len(columns["prompt"])
    rows = zip(columns["prompt"], columns.get("id", [None] * n), columns.get("cluster", [None] * n), strict=True)
    for index, (line, (text, given, cluster)) in enumerate(zip(table.lines, rows, strict=True)):
        name = given or _name(line)
        owner, other = owners.setdefault(name, (text, line))
        if owner != text:
            raise UserError(
                f"{table.where(index)}: the id {name!r} is also that of another prompt, in {table.unit} {other}; give "
                "each its own"
            )
        found.setdefault(text, []).append(line)
        first.setdefault(text, (name, cluster or name))
    stated = [cluster for _, cluster in first.values()]
    prompts = [
        Prompt(text, first[text][0], cluster, tuple(lines))
        for (text, lines), cluster in zip(found.items(), _joined(list(found), stated), strict=True)
    ]
    return PromptFile(path, prompts, read.sha256, read.not_read)


def scan_set(
    prompts: PromptFile, reference: PromptFile | None, *, model: str, steps: int, guidance: float, seeds: int
) -> SampleSet:
    """Prompts to scan and their reference as one sample set without labels, so that both are scored alike.

    Reference prompts that are scanned too are left out of the reference (:func:`not_scanned`).

    Args:
        prompts: To be scanned, stratum ``prompt``.
        reference: Stratum ``reference``.
        model: What :func:`memdet.load_model` takes.
        steps, guidance, seeds: Of the protocol; the noise is shared between items.

    Returns:
        The set; ``label`` is None everywhere, and an item's id is its stratum, a colon and its id in the file.

    Raises:
        UserError: A bad setting, or no reference prompt is left.
    """
    import pandas as pd

    try:
        protocol = Protocol(steps=steps, guidance=guidance, seeds=seeds, noise="shared")
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        raise UserError(f"`{name}` {problem['input']!r}: {problem['msg']}", parameters=(name,)) from None
    others = not_scanned(prompts, reference) if reference else []
    if reference is not None and not others:
        raise UserError(
            f"{reference.path} holds no prompt that is not in {prompts.path} too; name other prompts as the reference"
        )
    rows = [
        (f"{kind}:{prompt.id}", prompt.text, f"{kind}:{prompt.cluster}", kind)
        for kind, members in (("prompt", prompts.prompts), ("reference", others))
        for prompt in members
    ]
    items = pd.DataFrame(rows, columns=["item_id", "condition", "cluster", "stratum"])
    items["label"] = pd.Series([None] * len(rows), dtype=object)
    items = items.assign(model=model, split="test", extraction=math.nan, image=None)
    return SampleSet(
        id="scan",
        version=1,
        title=prompts.path.name,
        task="prompt",
        model=model,
        protocol=protocol,
        items=items,
        has_prompts=True,
        content_hash=content_hash(
            {"protocol": protocol.model_dump(mode="json"), "reference": reference.sha256 if reference else None},
            prompts.sha256,
        ),
        spec=None,
    )


def not_scanned(prompts: PromptFile, reference: PromptFile) -> list[Prompt]:
    """Prompts of the reference that are none of the scanned ones in any spelling: no prompt is its own reference."""
    scanned = {same_text(prompt.text) for prompt in prompts.prompts}
    return [prompt for prompt in reference.prompts if same_text(prompt.text) not in scanned]


def _joined(texts: Sequence[str], clusters: Sequence[str]) -> list[str]:
    """Clusters of texts, those that hold one text in several spellings made one."""
    import numpy as np

    seen: dict[str, int] = {}
    return joined_clusters(clusters, np.array([seen.setdefault(same_text(text), len(seen)) for text in texts]))


def _name(line: int) -> str:
    return f"line-{line:05d}"
