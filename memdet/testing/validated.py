"""The contract tried on all detectors of a file, or on one that is named."""

from __future__ import annotations

from pathlib import Path

from memdet.detectors import detector_classes, make_detector
from memdet.errors import UserError
from memdet.testing.check_detector import Finding, validate

Validated = list[tuple[str, list[Finding]]]
"""Label of each detector, and what was found."""


def validate_named(name_or_file: str) -> Validated:
    """Try the contract.

    Args:
        name_or_file: A name, with options if wanted, or the path of a Python file with detectors.

    Raises:
        UserError: No such detector, or a file without any of its own.
    """
    if not name_or_file.endswith(".py"):
        detectors = [make_detector(name_or_file, detector_classes())]
    else:
        path = Path(name_or_file).expanduser()
        known, classes = detector_classes(), detector_classes((path,))
        detectors = [make_detector(name, classes) for name in classes if name not in known]
        if not detectors:
            raise UserError(f"{path} defines no detector that memdet does not have")
    return [(detector.label, validate(detector)) for detector in detectors]
