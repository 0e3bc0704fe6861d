"""Prompts from files that hold one class each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from memdet.errors import UserError
from memdet.samplesets.fetch import Fetcher
from memdet.samplesets.file_formats import RawTable
from memdet.samplesets.prompt_table import Wanted, read_prompt_table
from memdet.samplesets.spec import FilesSource, Part


def read_class_files(source: FilesSource, spec_path: Path, fetcher: Fetcher) -> tuple[RawTable, str]:
    """Read the parts of a sample set one below the other.

    An id is the part's name and the number of the prompt in it. Clusters are families of near-duplicates among all
    prompts (:func:`memdet.samplesets.near_duplicates.near_duplicates`), joined with those of the parts' own columns.

    Args:
        source: From the spec.
        spec_path: The spec file, from which local paths start and which errors name.
        fetcher: Where remote files may come from.

    Returns:
        A table with the columns ``id, prompt, part, cluster, stratum``, and a SHA-256 over those of the files.

    Raises:
        UserError: A file is missing or not the one that the spec means, or holds another number of prompts.
    """
    from memdet.samplesets.near_duplicates import near_duplicates

    rows: list[tuple[str, str, str, str]] = []
    known: list[str] = []
    hashes = []
    for part in source.parts:
        path, data, sha256 = fetcher.read(part.source, spec_path)
        hashes.append(sha256)
        others = (*filter(None, [part.cluster, part.stratum]),)
        table = read_prompt_table(path, Wanted(part.prompt, part.separator, others=others), data).table
        prompts = table.columns["prompt"]
        if len(prompts) != part.items:
            raise UserError(f"{path} holds {len(prompts)} prompts, {spec_path} says {part.items} for {part.name!r}")
        clusters = table.columns[part.cluster] if part.cluster else None
        for index, (prompt, stratum) in enumerate(zip(prompts, _strata(part, table), strict=True)):
            name = f"{part.name}-{index + 1:05d}"
            known.append(f"column {clusters[index]}" if clusters else f"item {name}")
            rows.append((name, prompt, part.name, stratum))
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("id", "prompt", "part", "stratum"))}
    families = near_duplicates(columns["prompt"], known=known)
    columns["cluster"] = [f"family-{number:05d}" for number in families.tolist()]
    combined = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    return RawTable(spec_path, columns, range(1, len(rows) + 1), "item"), combined


def _strata(part: Part, table: RawTable) -> Iterator[str]:
    n = len(table.columns["prompt"])
    if part.stratum is not None:
        return iter(str(value) for value in table.columns[part.stratum])
    if part.strata is None:
        return iter([part.name] * n)
    return iter([of.name for of in part.strata for _ in range(of.rows[0], of.rows[1] + 1)])
