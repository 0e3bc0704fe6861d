"""The tutorials run, and their cells say what the committed notebooks show."""

import nbformat
import pytest

from tests.helpers.notebooks import TUTORIALS, executed, values
from tests.helpers.source import ROOT


def test_there_is_a_tutorial_for_each_kind_of_reader():
    assert len(TUTORIALS) == 5
    front = (ROOT / "README.md").read_text()
    assert [path.name for path in TUTORIALS if f"docs/tutorials/{path.name}" not in front] == []


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_says_what_it_shows(path):
    shown = nbformat.read(path, as_version=4)
    assert values(shown), "no cell has the tag value"
    for (words, numbers), (fresh_words, fresh_numbers) in zip(values(shown), values(executed(path)), strict=True):
        assert fresh_words == words
        assert fresh_numbers == pytest.approx(numbers, rel=0.02, abs=0.01)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_committed_with_its_outputs(path):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
