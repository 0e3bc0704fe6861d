"""What the page says of a method itself: formula, paper, options, how it is run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memdet.detectors import Detector
from memdet.page.bibliography import papers
from memdet.tables.detector_page import described

REPOSITORY = "https://github.com/memdet/memdet"


def method_facts(labels: Iterable[str], classes: Mapping[str, type[Detector]]) -> dict[str, dict[str, Any]]:
    """Facts by method, of those that are installed here.

    Args:
        labels: Of detectors; variants of one method share its facts.
        classes: By name.
    """
    names = dict.fromkeys(label.partition("@")[0] for label in labels)
    return {name: _facts(classes[name]) for name in names if name in classes}


def _facts(cls: type[Detector]) -> dict[str, Any]:
    info = cls.info
    text, options = described(cls)
    text = text.partition("\nRaises:")[0].partition("\nExample:")[0].strip()
    paper = papers().get(info.paper or "")
    return {
        "text": text,
        "options": [asdict(one) for one in options],
        "fidelity": "control" if info.is_control else info.fidelity,
        "deviation": info.deviation,
        "headline": None if info.headline is None else info.headline.described(),
        "cost": info.cost,
        "paper": None if paper is None else asdict(paper),
        "code": code_of(cls),
    }


def code_of(cls: type[Detector]) -> str | None:
    """Address of the file that defines one of memdet's own detectors; None of a plugin's.

    Example:
        >>> from memdet.detectors.methods.wen2024_magnitude import ScoreDifferenceNorm
        >>> code_of(ScoreDifferenceNorm).removeprefix(REPOSITORY)
        '/blob/main/memdet/detectors/methods/wen2024_magnitude.py'
    """
    package = Path(__file__).resolve().parents[1]
    file = Path(inspect.getfile(cls)).resolve()
    if package not in file.parents:
        return None
    return f"{REPOSITORY}/blob/main/memdet/{file.relative_to(package).as_posix()}"
