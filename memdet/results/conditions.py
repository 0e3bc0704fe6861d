"""What the items of a finished run are: from the run itself, or from the sample sets that ship with memdet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from memdet.errors import UserError
from memdet.io_utils import weights_directory
from memdet.results.store import read_items
from memdet.samplesets import SampleSet, load_sample_set, sample_set_ids


@dataclass(frozen=True)
class Source:
    """A sample set of a run.

    Attributes:
        settings: What the run's manifest says of it; empty in a manifest that says nothing.
        sample_set: None where the set is not one that ships with memdet, or has changed since the run.
        condition, model: By item id; empty where they are not known.
    """

    settings: dict[str, Any]
    sample_set: SampleSet | None
    condition: dict[str, str]
    model: dict[str, str]

    @property
    def ships(self) -> bool:
        """Whether all its models ship with memdet."""
        return all((weights_directory() / name).is_dir() for name in self.model.values())


def sources_of(run: Path, manifest: Mapping[str, Any]) -> dict[str, Source]:
    """Sample sets of a run, by id.

    Raises:
        UserError: A damaged ``items.parquet``.
    """
    table = read_items(run)
    kept = None if table is None else table.to_pandas()
    found = {}
    for settings in manifest["settings"].get("sample_sets", []):
        name = settings["id"]
        sample_set = _unchanged(settings)
        if kept is not None:
            items = kept[kept["sample_set"] == name]
        else:
            items = (
                pd.DataFrame(columns=["item_id", "condition", "model"]) if sample_set is None else _tested(sample_set)
            )
        condition = dict(zip(items["item_id"], items["condition"], strict=True))
        model = dict(zip(items["item_id"], items["model"], strict=True))
        found[name] = Source(settings, sample_set, condition, model)
    return found


def _tested(sample_set: SampleSet) -> pd.DataFrame:
    return sample_set.items[sample_set.items["split"] == "test"]


def _unchanged(settings: Mapping[str, Any]) -> SampleSet | None:
    if settings["id"] not in sample_set_ids():
        return None
    try:
        sample_set = load_sample_set(str(settings["id"]))
    except UserError:  # a remote set that cannot be fetched; the page does without its prompts
        return None
    # The text of a spec may be mended, its data only under a new version.
    same = sample_set.version == settings["version"] and sample_set.model == settings["model"]
    return sample_set if same else None
