"""The page of all detectors, and the bibliography that it refers to."""

from __future__ import annotations

import re
from pathlib import Path

from memdet.detectors import Detector, DetectorInfo, detector_classes
from memdet.tables.detector_page import detector_page

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_current():
    text = (DOCS / "detectors.md").read_text()
    assert text == detector_page(detector_classes()), "memdet list detectors --format markdown > docs/detectors.md"


def test_every_paper_is_in_the_bibliography():
    keys = re.findall(r"^@\w+\{(\w+),$", (DOCS / "bibliography.bib").read_text(), flags=re.MULTILINE)
    assert len(keys) == len(set(keys))
    used = {cls.info.paper for cls in detector_classes().values() if cls.info.paper}
    assert used <= set(keys)


def test_what_a_section_says():
    class Mine(Detector):
        """``a + b``, see :class:`~memdet.Detector`.

        Attributes:
            steps: How many, over
                two lines.
        """

        info = DetectorInfo(name="mine", title="a sum", access="score", cost="2 F", paper="me2026", year=2026)
        steps: int = 3

        def score(self, probe):
            raise NotImplementedError

    page = detector_page({"mine": Mine})
    assert "| [mine](#mine) | 2026 | me2026 | score | any | 2 F |" in page
    assert page.endswith(
        "## mine\n\nA sum (`me2026`, version 1).\n\n`a + b`, see `memdet.Detector`.\n\n"
        "- `steps` (int; default `3`): How many, over two lines.\n"
    )
