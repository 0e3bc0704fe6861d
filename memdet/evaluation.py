"""``evaluate``: a run from Python, in one call."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from memdet.detectors import Detector
    from memdet.samplesets import SampleSet


def evaluate(
    detectors: Sequence[Detector | str],
    sample_sets: Sequence[SampleSet | str],
    *,
    seeds: int | None = None,
    out: Path | str | None = None,
    device: str = "cpu",
) -> pd.DataFrame:
    """Score sample sets with detectors and compute the table.

    Args:
        detectors: Instances, or what the command line takes: ``"wen2024@steps=5"``; controls are added.
        sample_sets: Loaded sets, ids or paths of specs.
        seeds: Noise seeds 0 to seeds - 1; None takes each protocol's own number.
        out: Run directory to keep (and to resume); a temporary one if not given.
        device: Where the models compute.

    Returns:
        A row a sample set and detector, with the columns of ``memdet report --format json``.

    Raises:
        UserError: Unknown names or bad input.

    Example:
        >>> table = evaluate(["wen2024"], ["mixture-2d"], seeds=1)
        >>> table.set_index("detector").loc["wen2024", "n_negative"]
        np.int64(380)
    """
    import pandas as pd

    from memdet.detectors import detector_classes, make_detector, with_controls
    from memdet.running import RunOptions, run
    from memdet.samplesets import load_sample_set
    from memdet.tables import FIELDS, report_rows

    classes = detector_classes()
    made = [make_detector(d, classes) if isinstance(d, str) else d for d in detectors]
    sets = [load_sample_set(s) if isinstance(s, str) else s for s in sample_sets]
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(out) if out is not None else Path(temporary) / "run"
        run(
            sets,
            with_controls(made, classes),
            target,
            RunOptions(seeds=seeds, device=device),
            command="memdet.evaluate",
            progress=False,
        )
        return pd.DataFrame(report_rows([target]), columns=list(FIELDS))
