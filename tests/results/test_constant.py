"""Scores that are equal for all items are no result."""

import pytest

from memdet.errors import UserError
from memdet.results.run import Run, status_of
from memdet.tables import report_rows


@pytest.fixture
def constant_run(write_run, tmp_path):
    """Both the detector and the control give every item one score; another one under each seed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = write_run(tmp_path / "run")
    table = pq.read_table(path / "scores.parquet")
    scores = [1.0 + seed for seed in table["seed"].to_pylist()]
    pq.write_table(
        table.set_column(table.schema.get_field_index("score"), "score", pa.array(scores)), path / "scores.parquet"
    )
    return path


def test_a_detector_without_a_difference_has_a_status_and_no_numbers(constant_run):
    rows = {row["detector"]: row for row in report_rows([constant_run])}
    assert rows["found"]["status"] == "constant"
    assert rows["found"]["auroc"] is None
    assert "one score" in rows["found"]["message"]
    assert (rows["random"]["status"], rows["random"]["auroc"]) == ("ok", 0.5)
    with pytest.raises(UserError, match="found has no scores on small: constant: all items have one score"):
        Run.load(constant_run).roc("found")


def test_one_difference_or_one_item_is_enough(constant_run, write_run, tmp_path):
    table = Run.load(constant_run).score_rows()
    assert status_of(table[table["item_id"] == "i0"]) == "ok"
    assert status_of(Run.load(write_run(tmp_path / "other")).score_rows().query("detector == 'found'")) == "ok"
