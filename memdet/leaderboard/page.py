"""The leaderboard as one HTML file: the page of a run that is joined from what stands on the board."""

from __future__ import annotations

from pathlib import Path

from memdet.leaderboard.board import Tables, chosen_entries, find_runs, joined, rounded
from memdet.page.payload import payload_of
from memdet.page.render import PICTURE_BYTES, render
from memdet.results.images import read_images

TITLE = "Leaderboard of detectors of memorization"
GENERATIONS = 2


def leaderboard_html(root: Path, tables: Tables | None = None) -> str:
    """The page of the newest version of each sample set, with the rows of ``leaderboard.json``.

    Numbers are rounded as there. Images are those that lie beside the runs.

    Args:
        root: The directory of the runs.
        tables: What stands on the board, if it has been read before.

    Raises:
        UserError: As for :func:`~memdet.leaderboard.board.leaderboard_rows`.
    """
    chosen = chosen_entries(root) if tables is None else tables
    newest = dict(sorted(chosen))
    shown = {key: entries for key, entries in chosen.items() if newest[key[0]] == key[1]}
    images = {key: image for run in reversed(find_runs(root)) for key, image in read_images(run).items()}
    board = joined(shown, f"{root.resolve().name}/leaderboard", images)
    data = payload_of([board], generations=GENERATIONS, picture_bytes=PICTURE_BYTES)
    return render(rounded(data), TITLE)
