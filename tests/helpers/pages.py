"""Runs for the page, with known scores and hostile names."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memdet.results import ITEMS, SCHEMA_VERSION, SCORES

SCRIPT = "<script>alert(1)</script>"
EVIL = "odd\"'><img src=x onerror=alert(2)>@x=1"
HOSTILE = [
    f"a prompt {SCRIPT}",
    "</script></style><!--<b>bold</b>",
    "quotes \" ' ` and ${1+1} {{ 7*7 }} &amp; \u2028 end",
]
# Label: access, forwards and JVPs an item and seed, and how far it separates.
DETECTORS = {
    "random": ("none", 0.0, 0.0, 0.0),
    "wen2024": ("score", 2.0, 0.0, 1.0),
    "jeon2025": ("gradient", 2.0, 2.0, 2.0),
    "wen2024@steps=50": ("score", 100.0, 0.0, 6.0),
    "copy-similarity": ("training-data", 1.0, 0.0, 9.0),
    EVIL: ("score", 1.0, 0.0, -1.0),
    "pia": ("score", 2.0, 0.0, 1.0),
}
STRATA = ("copies-4", "copies-16", f"copies{SCRIPT}")


def write_run(path, *, seeds=2):
    """Two sample sets: 120 negatives and memorized items of three strata, and a small one that resolves no 1 %."""
    rng = np.random.default_rng(3)
    rows, items, messages = [], {name: [] for name in ITEMS.names}, {}
    for sample_set, sizes in (("large", (120, 90)), ("small & </script>", (20, 20))):
        for index in range(sum(sizes)):
            label = int(index >= sizes[0])
            prompt = HOSTILE[index] if index < len(HOSTILE) else f"prompt number {index}"
            values = (sample_set, f"{SCRIPT[:8]}{index:03d}", prompt, "no-such-model")
            for name, value in zip(ITEMS.names, values, strict=True):
                items[name].append(value)
        for name, (_, forwards, jvps, shift) in DETECTORS.items():
            for seed in range(seeds):
                noise = rng.normal(size=sum(sizes))
                for index in range(sum(sizes)):
                    label = int(index >= sizes[0])
                    stratum = STRATA[index % (3 if sample_set == "large" else 2)] if label else "single"
                    absent = name == "pia"
                    rows.append(
                        {
                            "sample_set": sample_set,
                            "sample_set_version": 1,
                            "item_id": f"{SCRIPT[:8]}{index:03d}",
                            "cluster": f"c{index}",
                            "stratum": stratum,
                            "extraction": float(label),
                            "label": label,
                            "detector": name,
                            "detector_version": 1,
                            "seed": seed,
                            "score": float("nan") if absent else round(float(noise[index] + shift * label), 1),
                            "status": "not-applicable" if absent else "ok",
                            "forwards": forwards,
                            "jvps": jvps,
                            "vjps": 0.0,
                        }
                    )
        messages[sample_set] = {"pia": [f"the items are no images {SCRIPT}"]}
    path.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCORES), path / "scores.parquet")
    pq.write_table(pa.table(items, schema=ITEMS), path / "items.parquet")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "settings": {
            "sample_sets": [
                {"id": name, "version": 1, "content_hash": "", "model": "no-such-model", "steps": 50, "guidance": 7.5}
                | {"noise": "shared"}
                for name in messages
            ],
            "detectors": [{"label": name, "access": access} for name, (access, *_) in DETECTORS.items()],
            "device": "cpu",
        },
        "command": f"memdet run {SCRIPT}",
        "seconds": {name: dict.fromkeys(DETECTORS, 1.5) for name in messages},
        "messages": messages,
        "finished": True,
    }
    (path / "run.json").write_text(json.dumps(manifest))
    return path


def write_sets(path, sets, detectors, *, seeds=1, draws=3):
    """A run of several sample sets with 100 + 60 items each.

    Args:
        path: Of the run.
        sets: Names.
        detectors: Label: access, forwards an item and seed, and by set how far it separates; None is not applicable.
        seeds: Of all, or by label.
        draws: Seed of the scores.
    """
    rng = np.random.default_rng(draws)
    labels, rows, messages = np.repeat([0, 1], [100, 60]), [], {}
    of_label = seeds if isinstance(seeds, dict) else dict.fromkeys(detectors, seeds)
    for name in sets:
        messages[name] = {
            label: ["it needs images"] for label, (*_, shifts) in detectors.items() if shifts[name] is None
        }
        for label, (_, forwards, shifts) in detectors.items():
            for seed in range(of_label[label]):
                absent = shifts[name] is None
                values = rng.normal(size=160) + (0 if absent else shifts[name]) * labels
                rows.append(
                    pa.table(
                        {
                            "sample_set": [name] * 160,
                            "sample_set_version": [1] * 160,
                            "item_id": [f"i{index:03d}" for index in range(160)],
                            "cluster": [f"c{index}" for index in range(160)],
                            "stratum": ["one" if label else "none" for label in labels],
                            "extraction": [None] * 160,
                            "label": labels.tolist(),
                            "detector": [label] * 160,
                            "detector_version": [1] * 160,
                            "seed": [seed] * 160,
                            "score": [float("nan")] * 160 if absent else values.tolist(),
                            "status": ["not-applicable" if absent else "ok"] * 160,
                            "forwards": [forwards] * 160,
                            "jvps": [0.0] * 160,
                            "vjps": [0.0] * 160,
                        },
                        schema=SCORES,
                    )
                )
    path.mkdir(parents=True)
    pq.write_table(pa.concat_tables(rows), path / "scores.parquet")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "settings": {
            "sample_sets": [{"id": name} for name in sets],
            "detectors": [{"label": label, "access": access} for label, (access, *_) in detectors.items()],
        },
        "messages": messages,
        "finished": True,
    }
    (path / "run.json").write_text(json.dumps(manifest))
    return path


def tied_with_the_best(described, measure, fields, *, controls=True):
    """Labels of those that the payload of a set does not tell apart from the best; the first leads, as in tables.

    Args:
        described: The set.
        measure: 0 is AUROC, 1 and up the TPR at each rate.
        fields: Names of the fields of its rows.
        controls: False leaves them aside.
    """
    rows = [dict(zip(fields, row, strict=True)) for row in described["rows"]]
    usable = [row for row in rows if row["status"] == "ok"]
    values = [row["auroc"] if measure == 0 else described["tpr"][row["detector"]][measure - 1][0] for row in usable]
    kept = [place for place, row in enumerate(usable) if controls or row["access"] not in {"none", "text"}]
    kept = [place for place in kept if usable[place].get("ranked", True)]
    lead = max(kept, key=lambda place: values[place] or 0.0)
    return {usable[place]["detector"] for place in kept if described["tied"][measure][lead][place] == "1"}
