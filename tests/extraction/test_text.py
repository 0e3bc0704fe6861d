"""What an extraction says: in 80 places, as files that are read again, and as a page."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.cells import cell_len

from memdet.extraction import Copies, Extraction, Match, PromptResult, Rule, Sscd
from memdet.extraction.files import write_results
from memdet.extraction.page import to_html
from memdet.extraction.text import FORMATS, lead, sentences, to_generations, to_samples
from memdet.metrics import Interval, share_interval
from memdet.samplesets import load_samples_file

NASTY = 'a "quoted", <script>alert(1)</script> prompt \x1b[2J with ; and | of 寿司 ' + "x" * 90


def prompt(index, text, copied, drawn, ratio=0.3):
    matches = [
        Match(
            seed,
            f"generations/{index}-{seed}.png",
            f"long folder name/寿司 image {index}.png",
            0.1,
            ratio,
            seed < copied,
        )
        for seed in range(drawn)
    ]
    rate = share_interval(copied, drawn) if drawn else None
    return PromptResult(f"line-{index}", text, (index,), False, Copies((*matches, Match(drawn)), copied, drawn, rate))


def extraction(*prompts, rule=None, sscd=None):
    rule = rule or Rule("ratio", 0.5, 50, 60, 0, 0, None, 0.0)
    sscd = sscd or Sscd("not installed", reason="SSCD needs onnxruntime: pip install onnxruntime")
    share = Interval(0.5, 0.25, 0.75)
    return Extraction("m", 5, 2.0, 4, "p.txt", None, "train", 61, rule, sscd, share, ("A note.",), prompts)


@pytest.fixture
def found():
    return extraction(prompt(1, NASTY, 4, 4), prompt(2, "b", 1, 4), prompt(3, "c", 0, 4, 0.9), prompt(4, "d", 0, 0))


def test_the_table_fits_a_terminal_of_80_places(found):
    table = FORMATS["table"](found)
    assert max(map(cell_len, table.splitlines())) <= 80
    assert "\x1b" not in table
    assert [line.split()[:3] for line in table.splitlines() if line.startswith(" ") and " of 4 " in line] == [
        ["4", "of", "4"],
        ["1", "of", "4"],
        ["0", "of", "4"],
    ]


def test_the_answer_counts_prompts(found):
    assert lead(found).startswith("1 of 4 prompts gave back a training image in at least half of 4 generations; 1 more")
    assert lead(extraction(prompt(1, "a", 0, 4))).startswith("None of 1 prompt gave back")


def test_samples_are_read_by_a_run_as_they_were_measured(found, tmp_path, capsys):
    path = tmp_path / "samples.csv"
    path.write_text(to_samples(found) + "\n", encoding="utf-8")
    items = load_samples_file(path, model="m").items
    assert items["condition"].tolist() == [NASTY, "b", "c"]
    assert items["label"].tolist() == [1, 0, 0]
    assert items["extraction"].tolist() == [1.0, 0.25, 0.0]
    assert items["stratum"].tolist() == ["copied", "partly copied", "not copied"]
    assert capsys.readouterr().err == "memdet: " + f'{path}: not read: "nearest_training_image"\n'


def test_a_row_a_generation(found):
    rows = list(csv.DictReader(io.StringIO(to_generations(found))))
    assert len(rows) == 4 * 3 + 4
    assert rows[0] | {"prompt": ""} == {
        "id": "line-1",
        "prompt": "",
        "seed": "0",
        "file": "generations/1-0.png",
        "nearest_training_image": "long folder name/寿司 image 1.png",
        "distance": "0.1",
        "ratio": "0.3",
        "copied": "1",
        "sscd": "",
        "sscd_training_image": "",
    }
    assert (rows[4]["file"], rows[4]["copied"]) == ("", "")


def test_json_holds_all(found):
    content = json.loads(found.to_json())
    assert [(one["memorized"], one["stratum"]) for one in content["prompts"]][:2] == [
        (1, "copied"),
        (0, "partly copied"),
    ]
    assert content["prompts"][3]["copies"]["rate"] is None
    assert content["rule"]["threshold"] == 0.5


def told(**changes):
    return " ".join(sentences(extraction(prompt(1, "a", 0, 4), **changes))).replace("\u00a0", " ")


def test_the_rule_is_said_to_be_a_rule_or_what_it_was_calibrated_on():
    assert "rule of Carlini et al. 2023 (alpha .5), not a measured rate" in told()
    few = told(rule=Rule("ratio", 0.5, 7, 7, 0, 0, None, 0.3))
    assert "the 7 nearest, all there are, for 50 are not" in few
    assert "So near to another one are 30 % of the training images" in few
    calibrated = told(rule=Rule("reference", 0.41, 50, 60, 120, 30, Interval(1 / 121, 1e-9, 0.05), 0.0))
    assert "0.83 % [0 %, 5 %] of the generations of prompts like the 30 reference prompts" in calibrated


def test_sscd_is_shown_or_why_it_is_not():
    assert "pip install onnxruntime" in told()
    invalid = told(sscd=Sscd("not valid", among=0.93))
    assert "not valid on these pictures: one in a hundred training images is as like another one as .93" in invalid
    assert "SSCD (a cosine above .7 is a copy) is valid here" in told(sscd=Sscd("valid", among=0.4))


def test_labels_of_one_kind_are_said():
    assert "labelled not memorized; memdet run needs some of both" in told()


def test_page_and_sheet_hold_the_pairs_and_escape_prompts(tmp_path):
    found = extraction(prompt(1, NASTY, 1, 2))
    for match in found.prompts[0].copies.matches[:2]:
        for path in (tmp_path / match.file, tmp_path / "train" / match.nearest):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), 90, np.uint8)).save(path)
    page = to_html(found, tmp_path, tmp_path / "train", {"Model": "<b>"})
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert page.count("data:image/webp;base64,") == 4
    assert page.count('class="pair copy"') == 1
    write_results(found, tmp_path, tmp_path / "train")
    with Image.open(tmp_path / "pairs.png") as sheet:
        assert sheet.size[1] > 96
        assert (90, 90, 90) in {colour for _, colour in sheet.getcolors(1 << 16)}
    assert Path(tmp_path / "samples.csv").read_text().startswith("id,prompt,memorized")
