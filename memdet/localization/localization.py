"""Where an item is memorized: maps of detectors against the region that memorized items share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from memdet.detectors import Detector
from memdet.errors import NotApplicableError, UserError
from memdet.metrics import auroc, mean_interval
from memdet.models import ScoreModel, load_model
from memdet.probing import Context, Probe, SeedMemory
from memdet.probing.from_sample_set import dev_items, items_of
from memdet.running.remarks import remarks_on, say
from memdet.running.scoring import drawing_alike
from memdet.samplesets import SampleSet
from memdet.tables.formats import markdown, text
from memdet.tables.numbers import UNDEFINED, counted, interval
from memdet.tables.table import Block, Table, left
from memdet.torch_state import in_own_state

FIELDS = (
    "sample_set",
    "detector",
    "n_items",
    "seeds",
    "pixel_auroc",
    "pixel_auroc_low",
    "pixel_auroc_high",
    "iou",
    "iou_low",
    "iou_high",
    "threshold",
    "status",
    "message",
)
WHOLE_IMAGE = "whole image"
LEGEND = (
    "Brackets: 95 % intervals over items and noise draws; with one noise seed, over items only. Pixel AUROC: how well "
    "the map tells the pixels of the shared region from the others, mean over items. IoU: overlap of the region with "
    "the pixels above the threshold. The threshold is in units of a map's mean, and is chosen on the dev split."
)
BATCH = 64
QUANTILES = np.linspace(0.01, 0.99, 99)

Maps = NDArray[np.float64]


@in_own_state
def localize(sample_set: SampleSet, detectors: Sequence[Detector], seeds: int | None = None) -> list[dict[str, Any]]:
    """Compare maps with the shared region, on memorized test items.

    A map is divided by its mean. The pixel AUROC of an item asks how well its map tells the region from the rest; the
    IoU is that of the region and all pixels above a threshold, which is the one of the best mean IoU on the memorized
    dev items. Both are means over items and seeds, with intervals of both (:func:`~memdet.metrics.mean_interval`). A
    row says what marking the whole image gives.

    Args:
        sample_set: Its spec names the shared region.
        detectors: Those that give no map are rows with the reason.
        seeds: Noise seeds; None takes the protocol's.

    Returns:
        Rows with :data:`FIELDS`.

    Raises:
        UserError: The sample set has no shared region, or no memorized items on one of the splits.
    """
    region = sample_set.spec.shared_region if sample_set.spec else None
    if region is None:
        raise UserError(f"{sample_set.id} names no shared_region, with which a map could be compared")
    model = load_model(str(sample_set.model))
    say(remarks_on([sample_set], {str(sample_set.model): model}))
    mask = region_mask(region, model.latent_shape)
    count = seeds or sample_set.protocol.seeds
    items = sample_set.items[sample_set.items["label"] == 1]
    test, dev = (items[items["split"] == split] for split in ("test", "dev"))
    if test.empty or dev.empty:
        raise UserError(f"{sample_set.id} needs memorized items on both splits, test and dev")
    head: dict[str, Any] = {"sample_set": sample_set.id, "n_items": len(test), "seeds": count}
    share = float(mask.mean())
    rows = [_row(head, WHOLE_IMAGE, iou=(share, None, None), pixel_auroc=(0.5, None, None))]
    for detector in detectors:
        try:
            found = {
                name: np.stack([_maps(detector, part, sample_set, model, seed) for seed in range(count)])
                for name, part in (("test", test), ("dev", dev))
            }
        except NotApplicableError as error:
            rows.append(_row(head, detector.label, status="not-applicable", message=str(error)))
            continue
        if lost := sum(int((~np.isfinite(maps).all(axis=(-2, -1))).sum()) for maps in found.values()):
            rows.append(_row(head, detector.label, status="nonfinite", message=f"{lost} maps are not finite"))
            continue
        threshold = best_threshold(found["dev"], mask)
        areas = [[auroc(one.ravel(), mask.ravel()) for one in maps] for maps in found["test"]]
        overlaps = iou(found["test"], mask, threshold)
        clusters = test["cluster"].tolist()
        rows.append(
            _row(
                head,
                detector.label,
                pixel_auroc=_interval(np.array(areas).T, clusters),
                iou=_interval(overlaps.T, clusters),
                threshold=threshold,
            )
        )
    return rows


def _interval(values: Maps, clusters: list[str]) -> tuple[float, float, float]:
    """Mean of shares ``[items, seeds]`` and its bounds."""
    found = mean_interval(values, clusters)
    return found.value, max(0.0, found.low), min(1.0, found.high)


def region_mask(region: Sequence[float], latent_shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Pixels of a latent whose centre lies in the region, ``[height, width]`` of 0 and 1.

    Args:
        region: Left, top, right and bottom, as shares of the image.
        latent_shape: Channels, height and width.
    """
    left, top, right, bottom = region
    height, width = latent_shape[-2:]
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    return np.outer((y > top) & (y < bottom), (x > left) & (x < right)).astype(np.int64)


def iou(maps: Maps, mask: NDArray[np.int64], threshold: float) -> Maps:
    """Intersection over union of the mask and the pixels above the threshold, one number a map ``[..., h, w]``."""
    marked = maps > threshold
    both, either = (marked & (mask == 1)).sum(axis=(-2, -1)), (marked | (mask == 1)).sum(axis=(-2, -1))
    overlap: Maps = both / either
    return overlap


def best_threshold(maps: Maps, mask: NDArray[np.int64]) -> float:
    """Quantile of all pixels that gives the largest mean IoU."""
    candidates = np.quantile(maps, QUANTILES)
    return float(max(candidates, key=lambda threshold: iou(maps, mask, threshold).mean()))


def to_text(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, which reads well in a terminal too."""
    return markdown.document(_blocks(rows), padded=True)


def to_table(rows: Sequence[dict[str, Any]]) -> str:
    """For a terminal, best first."""
    return text.on_screen(_blocks(sorted(rows, key=lambda row: -(row["pixel_auroc"] or 0.0))))


def _blocks(rows: Sequence[dict[str, Any]]) -> list[Block]:
    """The table, what rows say for themselves, and what the columns are."""
    first = rows[0]
    seeds = counted(first["seeds"], "noise seed")
    table = Table(
        (*left("detector", "pixel AUROC"), *left("IoU", drop=3), *left("threshold", drop=1), *left("status", drop=2)),
        [_cells(row) for row in rows],
        f"{first['sample_set']}: {first['n_items']} memorized items, {seeds}",
    )
    notes = [f"{row['detector']}: {row['message']}." for row in rows if row["message"]]
    return [table, *notes, LEGEND]


def _cells(row: dict[str, Any]) -> list[str]:
    threshold = UNDEFINED if row["threshold"] is None else f"{row['threshold']:.2f}"
    return [row["detector"], interval(row, "pixel_auroc"), interval(row, "iou"), threshold, row["status"]]


def _maps(detector: Detector, part: Any, sample_set: SampleSet, model: ScoreModel, seed: int) -> Maps:
    memory, context = SeedMemory(), Context(sample_set.protocol, seed, len(part))
    dev, found = dev_items(sample_set, part["model"].unique(), model), []
    for start in range(0, len(part), BATCH):
        rows = part.iloc[start : start + BATCH]
        probe = Probe(model, items_of(rows, sample_set, model), context, memory=memory, dev=dev)
        with drawing_alike(detector, probe), probe.charge():
            maps: torch.Tensor = detector.map(probe).double().cpu()
        found.append((maps / maps.mean(dim=(1, 2), keepdim=True).clamp_min(1e-30)).numpy())
    return np.concatenate(found)


def _row(head: dict[str, Any], detector: str, **values: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(FIELDS) | head | {"detector": detector, "status": "ok", "message": ""}
    for name, value in values.items():
        if isinstance(value, tuple):
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), value, strict=True))
        else:
            row[name] = value
    return row
