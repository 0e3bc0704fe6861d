"""Columns of the files of a run, and the version of its format."""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 2  # 2: the column extraction, and several models a sample set
SCORES = pa.schema(
    [
        ("sample_set", pa.string()),
        ("sample_set_version", pa.int64()),
        ("item_id", pa.string()),
        ("cluster", pa.string()),
        ("stratum", pa.string()),
        ("extraction", pa.float64()),
        ("label", pa.int64()),
        ("detector", pa.string()),
        ("detector_version", pa.int64()),
        ("seed", pa.int64()),
        ("score", pa.float64()),
        ("status", pa.string()),
        ("forwards", pa.float64()),
        ("jvps", pa.float64()),
        ("vjps", pa.float64()),
    ]
)
"""A row for each sample set, detector, item and seed."""
ITEMS = pa.schema([(name, pa.string()) for name in ("sample_set", "item_id", "condition", "model")])
"""What each item was."""
IMAGES = pa.schema(
    [
        ("model", pa.string()),
        ("condition", pa.string()),
        ("noise", pa.string()),
        ("steps", pa.int64()),
        ("guidance", pa.float64()),
        ("seed", pa.int64()),
        ("image", pa.binary()),
    ]
)
"""Generations that were made for the page."""
ROWS_AT_ONCE = 2**15  # of a file, held in memory and in one row group
