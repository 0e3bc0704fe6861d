"""The leaderboard as one HTML file: its front page, and the page of the run that is joined from what stands on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from memdet.errors import UserError
from memdet.leaderboard.board import Tables, chosen_entries, find_runs, joined, rounded, rows_of_tables
from memdet.leaderboard.front import Apart, front_of
from memdet.leaderboard.front_data import front_data
from memdet.leaderboard.ranking import WorldRanking, world_ranking
from memdet.page.payload import payload_of
from memdet.page.render import PICTURE_BYTES, render
from memdet.results.images import read_images
from memdet.results.run import SetKey
from memdet.tables.rows import Row

TITLE = "Which detector finds what a diffusion model has memorized?"
GENERATIONS = 2


def leaderboard_html(
    root: Path,
    tables: Tables | None = None,
    rows: Sequence[Row] | None = None,
    ranking: WorldRanking | None = None,
) -> str:
    """The page of the newest version of each sample set, with the rows and the ranking of ``leaderboard.json``.

    Numbers are rounded as there. Images are those that lie beside the runs. Rows of a run of your own are marked.

    Args:
        root: The directory of the runs. Audits of sample sets in ``audits`` and costs that were measured at the size
            of Stable Diffusion in ``scale/record.json`` are shown where they are.
        tables: What stands on the board, if it has been read before.
        rows: Those of the tables, if they were made before.
        ranking: That of the rows, likewise.

    Raises:
        UserError: As for :func:`~memdet.leaderboard.board.leaderboard_rows`.
    """
    chosen = chosen_entries(root) if tables is None else tables
    if rows is None:
        rows, ranking = rows_of_tables(chosen), None
    if ranking is None:
        ranking = world_ranking(chosen, rows)
    newest = dict(sorted(chosen))
    shown = {key: entries for key, entries in chosen.items() if newest[key[0]] == key[1]}
    images = {key: image for run in reversed(find_runs(root)) for key, image in read_images(run).items()}
    board = joined(shown, f"{root.resolve().name}/leaderboard", images)
    data = payload_of([board], generations=GENERATIONS, picture_bytes=PICTURE_BYTES)
    data["date"] = max((entry.started for entries in shown.values() for entry in entries), default="")[:10]
    _add_audits(data["sets"], root / "audits", shown)
    _add_costs_at_size(data["methods"], root / "scale" / "record.json")
    if ranking is not None:
        front = front_of(ranking, rows, dict(_apart(data["sets"], shown)))
        yours = {entry.label for entries in shown.values() for entry in entries if entry.yours}
        data["front"] = front_data(front, ranking, list(shown), yours)
    return render(rounded(data), TITLE if ranking is not None else "")


def _apart(sets: Sequence[dict[str, Any]], keys: Iterable[SetKey]) -> Iterable[tuple[SetKey, Apart]]:
    versions = dict(list(keys))
    for of_set in sets:
        if of_set["tied"]:
            yield (of_set["id"], versions[of_set["id"]]), Apart(list(of_set["tpr"]), of_set["tied"][0])


def _add_audits(sets: Sequence[dict[str, Any]], folder: Path, keys: Iterable[SetKey]) -> None:
    """What the audit of each set says, where one of this version lies there."""
    versions = dict(list(keys))
    for of_set in sets:
        told = _read(folder / f"{of_set['id']}.json", "memdet audit")
        if told.get("version") == versions[of_set["id"]]:
            of_set["audit"] = told.get("verdict")


def _add_costs_at_size(methods: dict[str, dict[str, Any]], file: Path) -> None:
    """What an item cost at the size of Stable Diffusion, where it was measured."""
    record = _read(file, "memdet reproduce sd-scale")
    for one in record.get("detectors", []):
        if one["detector"] in methods:
            methods[one["detector"]]["at_size"] = {
                "seconds": one["seconds_per_item"],
                "tflop": one["tflop_per_item"],
                "parameters": record["model"]["parameters"]["unet"],
                "machine": f"{record['machine']['processor']}, {record['machine']['threads']} threads",
                "parts": " + ".join(f"{one[unit]:g} {unit}" for unit in ("F", "JVP", "VJP") if one[unit]),
            }


def _read(file: Path, command: str) -> dict[str, Any]:
    """An object of JSON that a command wrote; empty where there is no such file.

    Raises:
        UserError: It holds something else.
    """
    if not file.is_file():
        return {}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = None
    if not isinstance(told, dict):
        raise UserError(f"{file} is no JSON of {command}: make it again, or remove it")
    return told
