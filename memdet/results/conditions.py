"""What the items of a finished run are: from the run itself, or from the sample sets that ship with memdet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from memdet.errors import UserError
from memdet.io_utils import weights_root
from memdet.results.manifest import Manifest, SampleSetEntry

if TYPE_CHECKING:
    from memdet.samplesets import SampleSet


@dataclass(frozen=True)
class Source:
    """A sample set of a run.

    Attributes:
        entry: What the run's manifest says of it; None where the manifest does not name it.
        sample_set: None where the set is not one that ships with memdet, or has changed since the run.
        condition, model: By item id; empty where they are not known.
    """

    entry: SampleSetEntry | None = None
    sample_set: SampleSet | None = None
    condition: dict[str, str] = field(default_factory=dict)
    model: dict[str, str] = field(default_factory=dict)

    @property
    def ships(self) -> bool:
        """Whether all its models ship with memdet."""
        return all((weights_root() / name).is_dir() for name in self.model.values())


def sources_of(manifest: Manifest, items: pa.Table | None) -> dict[str, Source]:
    """Sample sets of a run, by id.

    Args:
        manifest: Of the run.
        items: Its table of items; None where an older memdet did not keep it.
    """
    kept = None if items is None else items.to_pandas()
    found = {}
    for entry in manifest.settings.sample_sets:
        sample_set = _unchanged(entry)
        if kept is not None:
            of_set = kept[kept["sample_set"] == entry.id]
        elif sample_set is not None:
            of_set = sample_set.items[sample_set.items["split"] == "test"]
        else:
            of_set = pd.DataFrame(columns=["item_id", "condition", "model"])
        condition = dict(zip(of_set["item_id"], of_set["condition"], strict=True))
        model = dict(zip(of_set["item_id"], of_set["model"], strict=True))
        found[entry.id] = Source(entry, sample_set, condition, model)
    return found


def _unchanged(entry: SampleSetEntry) -> SampleSet | None:
    from memdet.samplesets import load_sample_set, sample_set_ids  # a table does without

    if entry.id not in sample_set_ids():
        return None
    try:
        sample_set = load_sample_set(entry.id)
    except UserError:  # a remote set that cannot be fetched; the page does without its prompts
        return None
    # The text of a spec may be mended, its data only under a new version.
    same = sample_set.version == entry.version and sample_set.model == entry.model
    return sample_set if same else None
