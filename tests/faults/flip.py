"""Flips bits in the files of a finished run and of a planted model, and looks whether their readers notice.

``python -m tests.faults.flip --flips 200`` prints a line for each kind of file: found, harmless (what is read is the
same) or silent.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np

from memdet.errors import UserError
from memdet.io_utils import png_bytes, weights_root
from memdet.models import load_model
from memdet.results import Run
from memdet.results.images import write_images
from tests.faults.small import small_run

PLANTED = "toy-2d"


def read_run(directory: Path) -> object:
    """All that a run says."""
    run = Run.load(directory)
    items = {name: (source.condition, source.model) for name, source in run.sources.items()}
    rows = run.score_rows()
    return run.manifest, rows.to_csv(), items, dict(run.images)


def read_model(directory: Path) -> object:
    """What a planted model is, read from a copy of all weights."""
    with patch("memdet.io_utils.files", lambda package: directory):
        return load_model(PLANTED).fingerprint()


def made_run(folder: Path) -> Path:
    """A finished run with an image."""
    small_run(folder, seeds=1, batch_size=100)
    picture = png_bytes(np.arange(64, dtype=np.uint8).reshape(8, 8))
    write_images(folder, {("mixture-2d", "0", "shared", 2, 1.0, 0): picture})
    return folder


def made_model(folder: Path) -> Path:
    """A copy of a planted model, where :func:`read_model` finds it."""
    shutil.copytree(weights_root() / PLANTED, folder / "zoo" / "weights" / PLANTED)
    return folder


def try_flips(directory: Path, file: str, read: Callable[[Path], object], flips: int, seed: int = 0) -> Counter[str]:
    """Flip single bits of a file, one after the other, and read.

    Args:
        directory: That is read; it is as before afterwards.
        file: In it.
        read: Gives all that the directory says, or raises.
        flips: How many.
        seed: Of the places.

    Returns:
        How many were ``found`` by an error that names the file, ``harmless`` or ``silent``; other errors pass.
    """
    path, draw, found = directory / file, random.Random(seed), Counter({"silent": 0})
    whole, expected = path.read_bytes(), read(directory)
    try:
        for _ in range(flips):
            place = draw.randrange(8 * len(whole))
            changed = bytearray(whole)
            changed[place // 8] ^= 1 << place % 8
            path.write_bytes(changed)
            try:
                found["harmless" if read(directory) == expected else "silent"] += 1
            except UserError as error:
                found["found" if path.name in str(error) and "\n" not in str(error) else "found without its name"] += 1
    finally:
        path.write_bytes(whole)
    return found


def kinds(folder: Path) -> list[tuple[Path, str, Callable[[Path], object]]]:
    """Directory, file and reader of each kind of file, made in a folder."""
    run, model = made_run(folder / "run"), made_model(folder / "model")
    files = ["scores.parquet", "items.parquet", "run.json", "images.parquet"]
    of_model = [f"zoo/weights/{PLANTED}/{name}" for name in ("model.safetensors", "config.json", "model_index.json")]
    return [*((run, name, read_run) for name in files), *((model, name, read_model) for name in of_model)]


def main() -> int:
    """Print what was found; 1 if anything was silent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=200)
    given, bad = parser.parse_args(), 0
    with tempfile.TemporaryDirectory() as folder:
        for directory, file, read in kinds(Path(folder)):
            found = try_flips(directory, file, read, given.flips)
            print(f"{file}: " + ", ".join(f"{count} {name}" for name, count in sorted(found.items())))
            bad += given.flips - found["found"] - found["harmless"]
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
