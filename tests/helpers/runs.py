"""Run directories for tests: made of given scores, or cut out of a real run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from memdet.results import SCORES
from memdet.results.store import read_scores


def read_manifest(path: Path) -> dict:
    """Content of ``run.json``, as it is stored."""
    return json.loads((path / "run.json").read_text())


def write_older(file: Path, content: dict) -> None:
    """Write ``run.json`` as a memdet that kept no checksums of the run's files did."""
    file.write_text(json.dumps({name: value for name, value in content.items() if name not in {"files", "checksum"}}))


def write_run(
    path: Path,
    scores: dict[str, np.ndarray],
    labels,
    *,
    seeds=(0,),
    ids=None,
    clusters=None,
    strata=None,
    extraction=None,
    sample_set="made",
    version=1,
    statuses=None,
    messages=None,
    detector_versions=None,
    access=None,
    unseeded=(),
    tolerances=None,
    **settings,
) -> Path:
    """A finished run of one sample set; ``scores`` are ``[items]`` or ``[items, seeds]`` by detector."""
    ids = ids or [f"item-{i:03d}" for i in range(len(labels))]
    entry = {"id": sample_set, "version": version, "model": "made", "model_hashes": {"made": "0"}, "dtype": "float32"}
    manifest = {
        "schema_version": 2,
        "settings": {
            "memdet": "0.1.0",
            "sample_sets": [entry | {"steps": 10, "guidance": 2.0, "noise": "shared", "seeds": len(seeds)} | settings],
            "detectors": [
                {
                    "label": label,
                    "version": (detector_versions or {}).get(label, 1),
                    "access": (access or {}).get(label, "score"),
                    "seeded": label not in unseeded,
                }
                for label in scores
            ],
            "device": "cpu",
        },
        "messages": {sample_set: messages or {}},
        "finished": True,
    }
    if tolerances is not None:
        manifest["tolerances"] = tolerances
    rows = []
    for label, values in scores.items():
        table = np.asarray(values, dtype=np.float64).reshape(len(labels), -1)
        for j in range(table.shape[1]):
            for i in range(len(labels)):
                rows.append(
                    {
                        "sample_set": sample_set,
                        "sample_set_version": version,
                        "item_id": ids[i],
                        "cluster": (clusters or ids)[i],
                        "stratum": "" if strata is None else strata[i],
                        "extraction": None if extraction is None else extraction[i],
                        "label": int(labels[i]),
                        "detector": label,
                        "detector_version": (detector_versions or {}).get(label, 1),
                        "seed": seeds[j],
                        "score": table[i, j] if (statuses or {}).get(label, "ok") == "ok" else np.nan,
                        "status": (statuses or {}).get(label, "ok"),
                        "forwards": 1.0,
                        "jvps": 0.0,
                        "vjps": 0.0,
                    }
                )
    return _write(path, manifest, pa.Table.from_pylist(rows, schema=SCORES))


def cut_run(path: Path, run: Path, *, seeds=None, items=None, change=None) -> Path:
    """A run with some of the seeds and items of another one, or with its rows (a data frame) changed."""
    manifest, table = read_manifest(run), read_scores(run)
    if seeds is not None:
        unseeded = [entry["label"] for entry in manifest["settings"]["detectors"] if not entry["seeded"]]
        kept = pc.or_(
            pc.is_in(table["seed"], pa.array(seeds)), pc.is_in(table["detector"], pa.array(unseeded, pa.string()))
        )
        table = table.filter(kept)
    if items is not None:
        table = table.filter(pc.is_in(table["item_id"], pa.array(items)))
    if change is not None:
        frame: pd.DataFrame = change(table.to_pandas())
        table = pa.Table.from_pandas(frame, schema=SCORES, preserve_index=False)
        stated = manifest["settings"]["sample_sets"]
        found = frame[["sample_set", "sample_set_version"]].drop_duplicates().itertuples(index=False, name=None)
        names = {entry["id"] for entry in stated}
        stated += [{"id": name, "version": int(version)} for name, version in found if name not in names]
    return _write(path, manifest, table)


def _write(path: Path, manifest, table: pa.Table) -> Path:
    path.mkdir(parents=True)
    write_older(path / "run.json", manifest)
    pq.write_table(table, path / "scores.parquet")
    return path
