"""A shard counts when it is what its unit must be; else it is kept aside and computed again."""

import os
import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from memdet.results.shards import Notes, read_shard, write_shard
from tests.faults.conftest import UNITS_DONE, resume

FIRST, SECOND = "mixture-2d-seed000-000000", "mixture-2d-seed000-000001"


def rewritten(change):
    """The rows changed by another program, which leaves the metadata as they are."""

    def edit(file, folder):
        table = pq.read_table(file)
        changed = change(table.replace_schema_metadata(None))
        pq.write_table(changed.replace_schema_metadata(table.schema.metadata), file)

    return edit


def written(change):
    """The rows and notes changed by memdet itself, so that the checksum holds."""

    def edit(file, folder):
        notes = Notes.model_validate_json(pq.read_schema(file).metadata[b"memdet"])
        rows, notes = change(read_shard(file, notes.unit, notes.settings)[0], notes)
        write_shard(file, rows, notes)

    return edit


def put(name, value):
    def change(table):
        index = table.schema.get_field_index(name)
        return table.set_column(index, table.schema.field(index), pa.array([value] * len(table), table[name].type))

    return change


def plus_one(table):
    return table.set_column(table.schema.get_field_index("score"), "score", pc.add(table["score"], 1.0))


def replaced_by(make):
    def edit(file, folder):
        file.unlink()
        make(file, folder)

    return edit


def of_rows(change):
    return written(lambda rows, notes: (change(rows), notes))


DAMAGE = {
    "doubled rows": rewritten(lambda t: pa.concat_tables([t, t])),
    "missing rows": rewritten(lambda t: t[:-1]),
    "no rows": rewritten(lambda t: t[:0]),
    "edited scores": rewritten(plus_one),
    "rows in another order": rewritten(lambda t: t.take(list(range(len(t)))[::-1])),
    "wrong columns": rewritten(lambda t: t.drop_columns(["stratum"])),
    "a column of another type": rewritten(lambda t: t.set_column(9, "seed", pc.cast(t["seed"], pa.float64()))),
    "no metadata": lambda file, folder: pq.write_table(pq.read_table(file).replace_schema_metadata(None), file),
    "truncated": lambda file, folder: file.write_bytes(file.read_bytes()[:-40]),
    "empty": lambda file, folder: file.write_bytes(b""),
    "garbage": lambda file, folder: file.write_bytes(b"PAR1" + os.urandom(200) + b"PAR1"),
    "another shard": lambda file, folder: shutil.copy(folder / f"{SECOND}.parquet", file),
    "a link to nothing": replaced_by(lambda file, folder: file.symlink_to(folder / "nothing")),
    "a link to a shard": replaced_by(lambda file, folder: file.symlink_to(folder / f"{SECOND}.parquet")),
    "a directory": replaced_by(lambda file, folder: file.mkdir()),
    "doubled rows with their checksum": of_rows(lambda t: pa.concat_tables([t, t])),
    "missing rows with their checksum": of_rows(lambda t: t[:-1]),
    "another detector version": of_rows(put("detector_version", 7)),
    "another version of the sample set": of_rows(put("sample_set_version", 7)),
    "another seed": of_rows(put("seed", 3)),
    "another detector": of_rows(put("detector", "jeon2025")),
    "other labels": of_rows(put("label", 1)),
    "other items": of_rows(put("item_id", "m2d-00000")),
    "another unit's name": written(lambda rows, notes: (rows, notes.model_copy(update={"unit": SECOND}))),
    "other settings": written(lambda rows, notes: (rows, notes.model_copy(update={"settings": "0" * 64}))),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_shard_is_put_aside_and_computed_again(name, begun, undisturbed, capsys):
    file = begun / "shards" / f"{FIRST}.parquet"
    DAMAGE[name](file, begun / "shards")
    resume(begun)
    assert (begun / "scores.parquet").read_bytes() == undisturbed
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "does not count" in line]
    assert str(file) in told
    assert [one.name for one in (begun / "damaged").iterdir()] == [file.name]
    assert {one.name for one in begun.iterdir()} == {"damaged", "items.parquet", "run.json", "scores.parquet"}


def test_whole_shards_count(begun, undisturbed, capsys):
    files = sorted((begun / "shards").iterdir())
    assert len(files) == UNITS_DONE
    resume(begun)
    assert (begun / "scores.parquet").read_bytes() == undisturbed
    assert "does not count" not in capsys.readouterr().err
    assert not (begun / "damaged").exists()


def test_what_is_damaged_twice_is_kept_twice(begun, undisturbed):
    file = begun / "shards" / f"{FIRST}.parquet"
    (begun / "damaged").mkdir()
    (begun / "damaged" / file.name).write_bytes(b"before")
    file.write_bytes(b"now")
    resume(begun)
    kept = {one.name: one.read_bytes() for one in (begun / "damaged").iterdir()}
    assert kept == {file.name: b"before", f"{FIRST}-2.parquet": b"now"}
