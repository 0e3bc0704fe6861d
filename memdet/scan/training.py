"""What a scan generated, against the model's own training images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memdet.extraction.files import write_results
from memdet.extraction.measure import Asked, Known, reference_rows, reported
from memdet.running.generations import save_generations

if TYPE_CHECKING:
    from memdet.extraction import Extraction
    from memdet.models import ScoreModel
    from memdet.samplesets import SampleSet

REFERENCES = 99  # prompts whose generations set the threshold: each costs what a prompt that is looked at costs


def against_training_images(
    result: dict[str, Any],
    items: SampleSet,
    model: ScoreModel,
    known: Known,
    asked: Asked,
    out: Path,
    *,
    batch_size: int,
    progress: bool = True,
) -> Extraction:
    """Find the nearest training image of each generation of a scan, and count copies.

    Generates from up to 99 reference prompts for the threshold. Notes in the rows of the ranking that have generations
    the nearest training images, and under ``copies`` how many are copies; writes the samples file, the table of
    generations and the contact sheet.

    Args:
        result: Of the scan, with the generations in its rows.
        items: The scan's sample set, prompts before reference.
        model: That was scanned.
        known: The training images.
        asked: Prompts, reference and protocol; its seeds are those of the generations.
        out: Directory of the run.
        batch_size: Images at once.
        progress: Show a bar, on a terminal alone.
    """
    position = {prompt.id: index for index, prompt in enumerate(asked.prompts.prompts)}
    looked_at = {position[row["id"]]: row for row in result["ranking"] if row["generations"]}
    prompts = {
        index: [None if one["file"] is None else Path(one["file"]) for one in row["generations"]]
        for index, row in looked_at.items()
    }
    chosen = reference_rows(asked.reference, asked.prompts, REFERENCES)
    seeds = range(asked.seeds)
    made = save_generations(items, chosen, seeds, model, out, batch_size=batch_size, progress=progress)
    reference = [made[row] for row in chosen]
    found = reported(model, asked, known, list(prompts), prompts, reference, out)
    by_id = {one.id: one for one in found.prompts}
    for row in looked_at.values():
        copies = by_id[row["id"]].copies
        row["generations"] = [asdict(match) for match in copies.matches]
        row["copies"] = {
            "copied": copies.copied,
            "drawn": copies.drawn,
            "extraction_rate": None if copies.rate is None else asdict(copies.rate),
            "nearest_training_image": copies.closest.nearest,
            "stratum": by_id[row["id"]].stratum,
        }
    result["training_images"] = {
        "folder": found.folder,
        "files": found.files,
        "rule": asdict(found.rule),
        "sscd": asdict(found.sscd),
        "notes": list(found.notes),
    }
    write_results(found, out, known.folder.path)
    return found
