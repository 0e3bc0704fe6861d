"""``push_to_hub`` of sample sets and runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa

from memdet.errors import UserError
from memdet.pushing.run_card import run_card
from memdet.pushing.upload import check_target, push_files
from memdet.results import SCORES, Run
from memdet.results.manifest import FILE
from memdet.results.store import SCORE_FILE, write_tables
from memdet.samplesets.export import export_files, open_licence
from memdet.samplesets.own_export import own_export_files
from memdet.samplesets.sample_set import SampleSet
from memdet.tables.rows import refuse_scan


def push_sample_set(
    sample_set: SampleSet, repo: str, *, private: bool = False, licence: str | None = None, offline: bool = False
) -> str:
    """Upload a sample set as a data set: a Parquet file a split, and a card; Croissant metadata where it has a spec.

    Args:
        sample_set: Any that has labels.
        repo: ``owner/name``, made if there is none.
        private: Whether only its owner may read it.
        licence: Name of SPDX, of a set without a spec; a spec states its own.
        offline: Open no connection, so refuse.

    Returns:
        Address of the data set.

    Raises:
        UserError: The licence does not let others publish it, or the hub takes nothing; nothing was uploaded.
    """
    spec = sample_set.spec
    if spec is not None and licence is not None:
        raise UserError(f"the spec of {sample_set.id} states its licence: leave `licence` out", parameters=("licence",))
    if spec is not None and not private and open_licence(spec.licence) is None:
        raise UserError(
            f"{sample_set.id} is not yours to publish (its licence: {spec.licence.strip()}): push it as `private`",
            parameters=("private",),
        )
    check_target(repo, offline=offline)
    files = own_export_files(sample_set, repo, licence) if spec is None else export_files(sample_set, repo)
    return push_files(repo, files, private=private, message=f"Sample set {sample_set.id} v{sample_set.version}")


def push_run(run: Run, repo: str, *, private: bool = False, licence: str | None = None, offline: bool = False) -> str:
    """Upload a run as a data set: manifest, scores, and a card with its table. Prompts and images stay here.

    Args:
        run: Finished, with labels.
        repo, private, offline: As for :func:`push_sample_set`.
        licence: Name of SPDX, of the scores; unknown if not given.

    Returns:
        Address of the data set.

    Raises:
        UserError: The run is a scan, or the hub takes nothing; nothing was uploaded.
    """
    refuse_scan(run)
    check_target(repo, offline=offline)
    files = _files_of(run) | {"README.md": run_card(run, repo, licence).encode()}
    return push_files(repo, files, private=private, message=f"Run {run.name}")


def _files_of(run: Run) -> dict[str, bytes]:
    """``run.json`` and ``scores.parquet``; those of a run in memory are written first."""
    if run.path is not None:
        return {name: (run.path / name).read_bytes() for name in (FILE, SCORE_FILE)}
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        run.manifest.model_copy(update={"files": {}}).write(directory)
        scores = pa.Table.from_pandas(run.score_rows(), schema=SCORES, preserve_index=False)
        write_tables([scores], SCORES, directory / SCORE_FILE)
        return {name: (directory / name).read_bytes() for name in (FILE, SCORE_FILE)}
