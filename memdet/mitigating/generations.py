"""What a run of mitigations generated, read from its directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memdet.errors import UserError
from memdet.io_utils import pixels_of_png
from memdet.mitigating.planted import Rule, read_rule
from memdet.results.manifest import Manifest
from memdet.results.run import Run
from memdet.results.store import GENERATION_FILE, read_items

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OfMitigation:
    """The generations of one mitigation.

    Attributes:
        label: Of the mitigation.
        status: ``ok``, or what most of its rows are.
        message: What it said.
        own, nearest: Root mean square distances to the nearest own training image, and to that of any item, ``[items,
            seeds]``; NaN where there is no generation.
        images: PNGs, ``[items, seeds]``, empty where there is none.
        forwards, jvps, vjps: Of one generation, on average.
        seconds: Of one generation.
    """

    label: str
    status: str
    message: str
    own: Floats
    nearest: Floats
    images: NDArray[np.object_]
    forwards: float
    jvps: float
    vjps: float
    seconds: float

    def pixels(self) -> Floats:
        """Pictures in [0, 1], ``[items, seeds, channels, height, width]``; of grey ones one channel.

        Raises:
            UserError: A picture could not be drawn.
        """
        if any(not data for data in self.images.ravel()):
            raise UserError(f"{self.label}: a picture could not be drawn, since pixels are not finite numbers")
        drawn = np.stack([pixels_of_png(data) for data in self.images.ravel()])
        in_channels = drawn[:, None] if drawn.ndim == 3 else drawn.transpose(0, 3, 1, 2)
        pictures: Floats = in_channels.reshape(*self.images.shape, *in_channels.shape[1:]) / 255.0
        return pictures


@dataclass(frozen=True)
class Generations:
    """All that a run of mitigations on one sample set holds.

    Attributes:
        sample_set: Its id.
        steps, guidance: Of the protocol.
        rule: When a generation counts as a copy.
        items: A row an item: ``item_id, condition, label, cluster``.
        seeds: Noise seeds.
        mitigations: In the order of the run.
    """

    sample_set: str
    steps: int
    guidance: float
    rule: Rule
    items: pd.DataFrame
    seeds: tuple[int, ...]
    mitigations: tuple[OfMitigation, ...]

    @classmethod
    def load(cls, directory: Path) -> Generations:
        """Read a finished run of mitigations.

        Raises:
            UserError: No such run, unfinished, or a file is damaged.
        """
        run, described = Run.load(directory), read_items(directory)
        manifest, scores = run.manifest, run.score_rows()
        if described is None or not (directory / GENERATION_FILE).is_file():
            raise UserError(f"{directory} holds no run of mitigations: {GENERATION_FILE} is missing")
        try:
            pictures = pq.read_table(directory / GENERATION_FILE).to_pandas()
        except (pa.ArrowInvalid, OSError) as error:
            why = str(error).splitlines()[0]
            raise UserError(f"{directory / GENERATION_FILE} is damaged: {why}; make the run again") from None
        entry = manifest.settings.sample_sets[0]
        items = scores.drop_duplicates("item_id")[["item_id", "label", "cluster"]].reset_index(drop=True)
        conditions = dict(zip(described["item_id"].to_pylist(), described["condition"].to_pylist(), strict=True))
        items["condition"] = items["item_id"].map(conditions)
        seeds = tuple(sorted(scores["seed"].unique().tolist()))
        found = tuple(
            _of(detector.label, scores, pictures, items["item_id"].tolist(), seeds, manifest, entry.id)
            for detector in manifest.settings.detectors
        )
        model = next(iter(entry.model_hashes))
        assert entry.steps is not None
        assert entry.guidance is not None
        return cls(entry.id, entry.steps, entry.guidance, read_rule(model), items, seeds, found)

    def of(self, label: str) -> OfMitigation | None:
        """The generations of a mitigation, if the run has it."""
        return next((one for one in self.mitigations if one.label == label), None)


def _of(  # one mitigation is found by all of these
    label: str,
    scores: pd.DataFrame,
    pictures: pd.DataFrame,
    items: list[str],
    seeds: tuple[int, ...],
    manifest: Manifest,
    sample_set: str,
) -> OfMitigation:
    rows = scores[scores["detector"] == label]
    own = pictures[pictures["mitigation"] == label]
    tables = {name: own.pivot(index="item_id", columns="seed", values=name).loc[items, list(seeds)] for name in _KEPT}
    bad = rows.loc[rows["status"] != "ok", "status"]
    seconds = manifest.seconds.get(sample_set, {}).get(label, float("nan"))
    return OfMitigation(
        label=label,
        status="ok" if bad.empty else str(bad.mode().iloc[0]),
        message="; ".join(manifest.messages_of(sample_set, label)),
        own=tables["own"].to_numpy(np.float64),
        nearest=tables["nearest"].to_numpy(np.float64),
        images=tables["image"].to_numpy(object),
        forwards=float(rows["forwards"].mean()),
        jvps=float(rows["jvps"].mean()),
        vjps=float(rows["vjps"].mean()),
        seconds=seconds / len(rows),
    )


_KEPT = ("own", "nearest", "image")
