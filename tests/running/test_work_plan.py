"""Units are counted, not listed; shards are joined piece by piece."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memdet.detectors import detector_classes, make_detectors
from memdet.results import ITEMS, SCORES, Manifest, store
from memdet.results.sinks import Notes, RunDirectory
from memdet.results.store import read_scores, scan_scores
from memdet.running.work_plan import tested_items as items_to_test
from memdet.running.work_plan import units_of
from memdet.running.workers import GROUPS_PER_WORKER, PARTS_PER_WORKER, _groups
from memdet.samplesets import load_sample_set


@pytest.fixture(scope="module")
def plan():
    """Units of a set with items of two models, with a detector of the whole set and unseeded ones."""
    sample_set = load_sample_set("tiny-sd-swap")
    detectors = make_detectors(["prompt-ngram", "prompt-case", "wen2024"], detector_classes())
    tested = items_to_test(sample_set)
    sizes = dict.fromkeys(tested["model"].unique(), 7)
    return tested, units_of(sample_set, tested, detectors, 3, sizes)


def test_units_hold_every_item_once_a_seed_and_those_of_one_model_alone(plan):
    tested, units = plan
    assert tested["model"].nunique() > 1
    made = list(units)
    assert len(made) == len(units) == len({unit.name for unit in made})
    assert units.batch_size == 7
    for seed in range(3):
        of_seed = [unit for unit in made if unit.seed == seed]
        whole = [unit for unit in of_seed if unit.whole]
        assert whole == of_seed[:1] * (seed == 0)  # prompt-ngram is the same under every seed
        assert [unit.rows for unit in whole] == [slice(0, len(tested))] * len(whole)
        batched = of_seed[len(whole) :]
        rows = [row for unit in batched for row in range(unit.rows.start, unit.rows.stop)]
        assert rows == list(range(len(tested)))
        for unit in batched:
            assert set(tested["model"].iloc[unit.rows]) == {unit.model}
            assert unit.items_of_model == (tested["model"] == unit.model).sum()
            labels = [detector.label for detector in unit.detectors]
            assert labels == (["prompt-case", "wen2024"] if seed == 0 else ["wen2024"])
        assert [unit.name.rpartition("-")[2] for unit in of_seed] == [
            *["whole"] * len(whole),
            *(f"{number:06d}" for number in range(len(batched))),
        ]
    with pytest.raises(IndexError):
        units[len(units)]


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_share_all_units_in_few_parts(plan, workers):
    _, units = plan
    groups = _groups({"set": units}, workers)
    assert sorted(index for group in groups for _, indices in group for index in indices) == list(range(len(units)))
    assert len(groups) <= PARTS_PER_WORKER * workers + len(units.sections)
    of_a_seed = 2 * 3  # models and seeds
    if of_a_seed >= GROUPS_PER_WORKER * workers:
        assert len(groups) == of_a_seed


def rows_of(n: int, start: int) -> pa.Table:
    """Score rows whose numbers go on from ``start``."""
    filled = {"item_id": [f"item-{start + i:07d}" for i in range(n)], "score": np.arange(start, start + n, dtype=float)}
    columns = [
        pa.array(filled[field.name] if field.name in filled else [1] * n, field.type)
        if field.name in filled or field.type != pa.string()
        else pa.array(["word"] * n)
        for field in SCORES
    ]
    return pa.table(columns, schema=SCORES)


def joined(path, shards: int, rows: int) -> tuple[int, int]:
    """Join shards; give the most bytes that Arrow and that Python held meanwhile."""
    directory = RunDirectory(path)
    (path / "shards").mkdir(parents=True)
    for number in range(shards):
        note = Notes(sample_set="set", seconds={"word": 0.5}, messages={"word": "a message"})
        directory.write_shard(f"{number}", rows_of(rows, number * rows), note)
    before, held = pa.total_allocated_bytes(), []

    def names():
        for number in range(shards):
            held.append(pa.total_allocated_bytes() - before)
            yield str(number)

    tracemalloc.start()
    try:
        directory.finish(names(), Manifest(), [ITEMS.empty_table()])
        return max(held), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_joining_shards_takes_no_more_memory_for_more_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 1_000)
    few, many = joined(tmp_path / "few", 20, 100), joined(tmp_path / "many", 200, 100)
    assert many[0] < 1.3 * few[0]
    assert many[1] < 1.3 * few[1] + 100_000
    file = pq.ParquetFile(tmp_path / "many" / "scores.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [1_000] * 20
    assert read_scores(tmp_path / "many")["score"].to_pylist() == list(range(20_000))
    assert Manifest.read(tmp_path / "many").seconds == {"set": {"word": 100.0}}
    assert Manifest.read(tmp_path / "many").messages == {"set": {"word": ["a message"]}}
    pieces = list(scan_scores(tmp_path / "many", ["score", "item_id"]))
    assert max(map(len, pieces)) <= 1_000
    assert pa.concat_tables(pieces).equals(read_scores(tmp_path / "many").select(["score", "item_id"]))


def test_a_shard_larger_than_a_row_group_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 64)
    store.write_tables([rows_of(150, 0), rows_of(10, 150)], SCORES, tmp_path / "scores.parquet")
    assert pq.read_metadata(tmp_path / "scores.parquet").num_row_groups == 3
    assert pq.read_table(tmp_path / "scores.parquet")["score"].to_pylist() == list(range(160))
    store.write_tables([], SCORES, tmp_path / "none.parquet")
    assert pq.read_table(tmp_path / "none.parquet").equals(SCORES.empty_table())
