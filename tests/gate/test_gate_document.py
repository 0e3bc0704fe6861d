"""What docs/accuracy-gate.md shows is what the gate says."""

from pathlib import Path

from memdet.gate.check import check_run
from memdet.gate.text import to_table
from tests.helpers.runs import cut_run

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "accuracy-gate.md"
REFERENCE = ROOT / "results" / "quick" / "reference"
BEGIN, END = "<!-- gate: begin -->", "<!-- gate: end -->"


def text_of_a_flip(scratch):
    """The failures of the committed run with a minus in front of wen2024 on the planted model, as an indented block."""

    def flip(frame):
        chosen = (frame["detector"] == "wen2024") & (frame["sample_set"] == "tiny-sd-a-verbatim")
        return frame.assign(score=frame["score"].where(~chosen, -frame["score"]))

    run = cut_run(scratch / "run", REFERENCE, change=flip)
    text = to_table(check_run(run, REFERENCE)).replace(str(run), "runs/quick").replace(str(REFERENCE), "ci/baseline")
    failures = text.split("\n\n sample set")[0]
    return "\n".join(f"    {line}".rstrip() for line in failures.splitlines())


def test_the_example_is_what_the_gate_says(tmp_path):
    shown = PAGE.read_text().split(BEGIN)[1].split(END)[0]
    assert shown.strip("\n") == text_of_a_flip(tmp_path)
