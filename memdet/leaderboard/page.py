"""The leaderboard as one HTML file: the page of a run that is joined from what stands on the board."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from memdet.leaderboard.board import BoardEntry, TableKey, chosen_entries, find_runs, rounded
from memdet.page.payload import payload_of
from memdet.page.render import PICTURE_BYTES, render
from memdet.results.images import FILE, read_images, table_of_images
from memdet.results.store import SCHEMA_VERSION, SCORES, read_manifest, write_table

TITLE = "Leaderboard of detectors of memorization"
GENERATIONS = 2


def leaderboard_html(root: Path) -> str:
    """The page of the newest version of each sample set, with the rows of ``leaderboard.json``.

    Numbers are rounded as there. Images are those that lie beside the runs.

    Args:
        root: The directory of the runs.

    Raises:
        UserError: As for :func:`~memdet.leaderboard.board.leaderboard_rows`.
    """
    chosen = chosen_entries(root)
    newest = dict(sorted(chosen))
    tables = {key: entries for key, entries in chosen.items() if newest[key[0]] == key[1]}
    with tempfile.TemporaryDirectory() as temporary:
        joined = Path(temporary) / root.resolve().name / "leaderboard"
        joined.mkdir(parents=True)
        _join(root, tables, joined)
        data = payload_of([joined], generations=GENERATIONS, picture_bytes=PICTURE_BYTES)
    return render(rounded(data), TITLE)


def _join(root: Path, tables: dict[TableKey, list[BoardEntry]], joined: Path) -> None:
    """Write a run directory that holds the entries of all tables."""
    entries = [entry for of_table in tables.values() for entry in of_table]
    detectors = {entry.label: entry.detector for entry in sorted(entries, key=BoardEntry.place)}
    scores = pd.concat([entry.scores for entry in entries], ignore_index=True)
    write_table(pa.Table.from_pandas(scores, schema=SCORES, preserve_index=False), joined / "scores.parquet")
    runs = find_runs(root)
    settings: dict[TableKey, Any] = {}
    for run in runs:
        for stored in read_manifest(run)["settings"].get("sample_sets", []):
            settings.setdefault((stored["id"], stored["version"]), stored)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "command": f"memdet report {root.name} --leaderboard",
        "settings": {
            "sample_sets": [settings[key] for key in tables if key in settings],
            "detectors": list(detectors.values()),
        },
        "seconds": {
            name: {e.label: e.seconds * len(e.scores) for e in of_table if e.seconds is not None}
            for (name, _), of_table in tables.items()
        },
        "messages": {
            name: {entry.label: entry.messages for entry in of_table} for (name, _), of_table in tables.items()
        },
    }
    (joined / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    images = {key: image for run in reversed(runs) for key, image in read_images(run).items()}
    if images:
        write_table(table_of_images(images), joined / FILE)
