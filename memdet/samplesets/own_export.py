"""A sample set without a spec, of a user's own, as a directory for a dataset hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.errors import UserError
from memdet.samplesets.export import (
    CITE_MEMDET,
    DESCRIPTIONS,
    OPEN_LICENCES,
    UNKNOWN,
    columns_section,
    front_matter,
    loading_section,
    parquet_of,
)
from memdet.samplesets.items import png_of_image
from memdet.samplesets.sample_set import SampleSet

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("test", "dev")


def own_export_files(sample_set: SampleSet, repo: str, licence: str | None = None) -> dict[str, bytes]:
    """Files of the directory, by name: a Parquet file for each split that has items, and ``README.md``.

    Args:
        sample_set: Without a spec.
        repo: ``owner/name``, from which the card says how to load it.
        licence: Name of SPDX; the card says that it is unknown if not given.

    Raises:
        UserError: A licence that the hub does not know.
    """
    check_licence(licence)
    table = _table(sample_set)
    parts = {split: table[table["split"] == split].drop(columns="split") for split in SPLITS}
    parts = {split: part.reset_index(drop=True) for split, part in parts.items() if len(part)}
    card = _card(sample_set, parts, repo, licence)
    return {f"{split}.parquet": parquet_of(part) for split, part in parts.items()} | {"README.md": card.encode()}


def check_licence(licence: str | None) -> None:
    """Refuse a licence whose name the hub does not know.

    Raises:
        UserError: It is another one.
    """
    if licence is not None and licence not in OPEN_LICENCES:
        known = ", ".join(OPEN_LICENCES)
        raise UserError(f"`licence` {licence!r} is not known: {known}", parameters=("licence",))


def _table(sample_set: SampleSet) -> pd.DataFrame:
    table = sample_set.to_pandas().rename(columns={"label": "memorized"})
    if "image" in table:
        table["image"] = table["image"].map(lambda image: {"bytes": png_of_image(image), "path": "image.png"})
    return table


def _card(sample_set: SampleSet, parts: dict[str, pd.DataFrame], repo: str, licence: str | None) -> str:
    front = front_matter(
        f"{sample_set.id} v{sample_set.version}",
        UNKNOWN if licence is None else licence.lower(),
        {split: f"{split}.parquet" for split in parts},
    )
    p = sample_set.protocol
    first = next(iter(parts))
    lines = [
        f"# {sample_set.id} v{sample_set.version}",
        "",
        "A sample set for memdet, a benchmark of detectors of memorization in diffusion models.",
        "",
        "| split | memorized | not |",
        "| --- | --: | --: |",
        *(
            f"| {split} | {int((part['memorized'] == 1).sum())} | {int((part['memorized'] == 0).sum())} |"
            for split, part in parts.items()
        ),
        "",
        f"- Model: {f'`{sample_set.model}`' if sample_set.model else 'none named'}. Task: {sample_set.task}.",
        f"- Protocol: {p.scheduler.upper()}, {p.steps} steps, guidance {p.guidance:g}, {p.noise} starting noise.",
        f"- Licence: {licence or 'not stated'}.",
        f"- Content hash: `{sample_set.content_hash}`",
        "",
        *columns_section(parts[first].columns, DESCRIPTIONS),
        *loading_section(repo, first, sample_set.has_prompts),
        "## Citation",
        "",
        "Cite where the items come from, and memdet:",
        "",
        "```bibtex",
        CITE_MEMDET,
        "```",
    ]
    return front + "\n".join(lines) + "\n"
