"""The files that an extraction and a scan write alike."""

from __future__ import annotations

from pathlib import Path

from memdet.extraction.result import Extraction
from memdet.extraction.sheet import contact_sheet
from memdet.extraction.text import to_generations, to_samples
from memdet.io_utils import write_bytes, write_text


def write_results(found: Extraction, out: Path, training_images: Path) -> None:
    """Write ``samples.csv``, ``generations.csv`` and the contact sheet ``pairs.png``.

    Args:
        found: What to write.
        out: The directory, which holds the generations.
        training_images: Their folder.
    """
    write_text(out / "samples.csv", to_samples(found) + "\n")
    write_text(out / "generations.csv", to_generations(found) + "\n")
    sheet = contact_sheet(found.prompts, out, training_images)
    if sheet is not None:
        write_bytes(out / "pairs.png", sheet)
