"""The page of all detectors, and the bibliography that it refers to."""

from __future__ import annotations

import re
from pathlib import Path

from memdet.detectors import Detector, DetectorInfo, Headline, detector_classes
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

        info = DetectorInfo(
            name="mine",
            title="a sum",
            access="score",
            cost="2 F",
            paper="me2026",
            year=2026,
            fidelity="deviates",
            deviation="b is half of it, for want of the rest.",
            headline=Headline("steps=4", seeds=2, guidance=7.5, source="Table 1"),
        )
        steps: int = 3

        def score(self, probe):
            raise NotImplementedError

    page = detector_page({"mine": Mine})
    assert "| [mine](#mine) | deviates | 2026 | me2026 | `steps=4`, n = 2, guidance 7.5 | score | any | 2 F |" in page
    assert page.endswith(
        "## mine\n\nA sum (`me2026`, deviates, version 1).\n\n`a + b`, see `memdet.Detector`.\n\n"
        "How it differs: b is half of it, for want of the rest.\n\n"
        "Headline: `steps=4`, n = 2, guidance 7.5 (Table 1).\n\n"
        "- `steps` (int; default `3`): How many, over two lines.\n"
    )
