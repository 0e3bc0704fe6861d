"""What is made of the scores of a scan."""

import csv
import io
import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from memdet.io_utils import printable
from memdet.results import SCORES, Manifest, Run, SampleSetEntry, Settings
from memdet.results.scores import RunScores
from memdet.samplesets import load_sample_set, read_prompts
from memdet.scan import FORMATS, scan_result, to_html, to_look_at
from memdet.scan.text import headline
from memdet.tables.numbers import percent

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "results" / "scan" / "tiny-sd-a"


def run_of(table, path):
    """A scan in memory whose generations lie in a directory."""
    entry = SampleSetEntry(id="scan", dtype="float32", model_hashes={"m": "ab" * 32})
    manifest = Manifest(
        settings=Settings(device="cpu", sample_sets=[entry]),
        packages={"torch": "2", "diffusers": "0", "memdet": "0"},
    )
    filled = table.assign(**{field.name: None for field in SCORES if field.name not in table})
    scores = RunScores(pa.Table.from_pandas(filled, schema=SCORES, preserve_index=False))
    return Run(manifest, scores, name="run", path=path)


@pytest.fixture
def scan(tmp_path):
    """A result from scores that a test chooses, a list of seeds a prompt; None is a failure."""

    def make(prompts, reference=None, *, clusters=None, fpr=0.2, controls=(), **options):
        files, rows = {}, []
        for kind, scores in (("prompt", prompts), ("reference", reference)):
            if scores is None:
                files[kind] = None
                continue
            path = tmp_path / f"{kind}.jsonl"
            lines = [{"prompt": text} for text in scores]
            if kind == "reference" and clusters:
                lines = [line | {"cluster": cluster} for line, cluster in zip(lines, clusters, strict=True)]
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            files[kind] = read_prompts(path)
            for prompt in files[kind].prompts:
                values = scores[prompt.text]
                for label, seeds in (("d", values), *((c, [len(prompt.text)]) for c in controls)):
                    for seed, value in enumerate(seeds):
                        rows.append(
                            {
                                "item_id": f"{kind}:{prompt.id}",
                                "stratum": kind,
                                "detector": label,
                                "seed": seed,
                                "score": math.nan if value is None else value,
                                "status": "error" if value is None else "ok",
                            }
                        )
        table = pd.DataFrame(rows)
        result = scan_result(table, files["prompt"], files["reference"], detector="d", fpr=fpr, **options)
        return {"model": "m", "steps": 50, "guidance": 7.5, **result}, table

    return make


REFERENCE = {f"r{i}": [float(i), float(i)] for i in range(1, 10)}  # scores 1 to 9


def test_prompts_are_ranked_by_their_mean_and_compared_with_the_reference(scan):
    result, _ = scan({"low": [0.0, 1.0], "high": [20.0, 0.0], "mid": [8.0, 8.0], "tie": [8.0, 8.0]}, REFERENCE)
    rows = result["ranking"]
    assert [row["prompt"] for row in rows] == ["high", "mid", "tie", "low"]
    assert [row["rank"] for row in rows] == [1, 2, 2, 4]
    assert [row["score"] for row in rows] == [10.0, 8.0, 8.0, 0.5]
    assert [row["reference_at_least_as_high"] for row in rows] == [0, 2, 2, 9]
    assert [row["p_value"] for row in rows] == [0.1, 0.3, 0.3, 1.0]
    assert [row["expected_false_positives"] for row in rows] == pytest.approx([0.4, 1.2, 1.2, 4.0])
    threshold = result["threshold"]
    assert (threshold["value"], threshold["fpr"], threshold["above"]) == (8.0, 0.2, 1)  # the second largest of nine
    assert threshold["expected_false_positives"] == pytest.approx(0.8)
    assert [row["above_threshold"] for row in rows] == [True, False, False, False]


def test_without_a_reference_nothing_is_said_of_false_positives(scan):
    result, _ = scan({"a": [1.0], "b": [2.0]})
    assert result["threshold"] is None
    assert {row["expected_false_positives"] for row in result["ranking"]} == {None}
    text = FORMATS["table"](result)
    assert "No threshold and no expected false positives" in text
    assert "--reference FILE" in text
    assert "reference as high" not in text


def test_a_rate_that_the_reference_cannot_resolve(scan):
    result, _ = scan({"a": [99.0]}, REFERENCE, fpr=0.01)
    assert result["threshold"]["status"] == "not resolvable"
    assert result["threshold"]["value"] is None
    assert result["ranking"][0]["above_threshold"] is None
    assert result["ranking"][0]["expected_false_positives"] == pytest.approx(0.1)
    text = FORMATS["table"](result)
    assert "not resolvable with 9 reference prompts; it takes 99, or an --fpr of at least 0.1." in text


def test_one_of_each_cluster_of_the_reference_is_used(scan):
    result, _ = scan({"a": [99.0]}, REFERENCE, clusters=list("aaaaabbbc"), fpr=0.25)
    assert (result["reference"]["used"], result["reference"]["in_families"]) == (3, 6)
    assert result["ranking"][0]["p_value"] == 0.25
    assert "form 3 clusters" in FORMATS["table"](result)


def test_a_prompt_with_a_failed_seed_has_no_score_and_comes_last(scan):
    scores = {"a": [1.0, None], "b": [0.0, 0.0], "c": [5.0, 5.0]}
    result, _ = scan(scores, REFERENCE | {"bad": [None, 50.0]}, messages=["RuntimeError: no\x1b[2J"])
    assert [(row["prompt"], row["rank"]) for row in result["ranking"]] == [("c", 1), ("b", 2), ("a", None)]
    assert (result["prompts"]["scored"], result["reference"]["used"], result["reference"]["without_score"]) == (2, 9, 1)
    text = FORMATS["table"](result)
    assert "1 prompt is without a score, at the end of the list (RuntimeError: no\\x1b[2J)." in text
    assert "1 reference prompt is without a score" in text


def test_repeats_and_cut_prompts_are_said(scan, tmp_path):
    result, _ = scan({"a": [1.0], "b": [2.0]}, cut={"b"})
    result["prompts"]["lines"] = 3
    text = FORMATS["table"](result)
    assert "3 lines hold 2 different prompts" in text
    assert "1 prompt is longer than the model reads" in text


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_fields_that_are_not_read_are_named(tmp_path, suffix):
    path = tmp_path / f"mine.{suffix}"
    lines = [{"prompt": "a", "id": "one", "seed": "3"}, {"prompt": "b", "id": "two", "seed": "4"}]
    path.write_text(
        "".join(json.dumps(line) + "\n" for line in lines)
        if suffix == "jsonl"
        else "prompt,id,seed\na,one,3\nb,two,4\n"
    )
    file = read_prompts(path)
    assert file.not_read == ("seed",)
    rows = [
        {"item_id": f"prompt:{name}", "stratum": "prompt", "detector": "d", "seed": 0, "score": 1.0, "status": "ok"}
        for name in ("one", "two")
    ]
    result = scan_result(pd.DataFrame(rows), file, None, detector="d", fpr=0.1)
    assert f"Fields of mine.{suffix} that are not read: seed." in FORMATS["table"](result | {"model": "m"})


def test_pictures_that_could_not_be_drawn_are_said_in_the_text_and_the_page(scan, tmp_path):
    result, table = scan({"a": [9.0], "b": [8.0]}, REFERENCE)
    result["ranking"][0]["generations"] = [{"seed": 0, "file": None}]
    assert "1 picture could not be drawn: pixels are not finite numbers." in FORMATS["table"](result)
    page = to_html(result, *to_look_at(result, 1), run=run_of(table, tmp_path))
    assert "seed 0 could not be drawn: its pixels are not finite numbers" in page
    assert "<img" not in page


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_holds_no_number_that_json_cannot_say(scan, value):
    result, _ = scan({"a": [9.0]}, REFERENCE)
    text = FORMATS["json"](result | {"likeness": {"d": value}})
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["likeness"] == {"d": None}


def test_text_controls_tell_how_like_the_prompts_the_reference_is(scan):
    result, _ = scan({"long words": [1.0], "longer words": [2.0]}, REFERENCE, controls=["prompt-length"])
    assert result["likeness"] == {"prompt-length": 1.0}
    text = FORMATS["table"](result)
    assert "prompt-length 1.00" in text
    assert f"give or take {2 * mann_whitney_deviation(2, 9):.2f}" in text


def mann_whitney_deviation(m, n):
    """Of the AUROC over all ways to choose m of m + n ranks."""
    areas = []
    for chosen in itertools.combinations(range(m + n), m):
        others = set(range(m + n)) - set(chosen)
        areas.append(sum(a > b for a in chosen for b in others) / (m * n))
    return np.std(areas)


@pytest.mark.parametrize(
    ("top", "highest", "around"),
    [(0, [], []), (2, [0, 1], [4, 5]), (3, [0, 1, 2], [3, 4, 5]), (50, list(range(9)), [])],
)
def test_what_to_look_at(scan, top, highest, around):
    """Five of nine prompts are above the threshold of 8."""
    scores = {f"p{i}": [float(value)] for i, value in enumerate([20, 19, 18, 17, 16, 5, 4, 3, 2])}
    result, _ = scan({**scores, "failed": [None]}, REFERENCE)
    assert result["threshold"]["above"] == 5
    assert to_look_at(result, top) == (highest, around)


NASTY = "\x1b]0;title\x07 \x9b2J \u202egnp.exe <script>alert(1)</script>"
MARKUP = ":smile: [red]x[/red] caf\u00e9 \u65e5\u672c\u3000\U0001f600"


def test_nothing_in_a_prompt_steers_the_terminal(scan):
    result, _ = scan({NASTY: [1.0], MARKUP: [2.0]}, REFERENCE)
    for name, render in FORMATS.items():
        text = render(result)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), name
    assert MARKUP.replace("\u3000", " ") in FORMATS["table"](result)
    assert NASTY in [row["prompt"] for row in json.loads(FORMATS["json"](result))["ranking"]]


def test_printable_shows_what_it_takes_out():
    assert printable("a\tb\u202ec\u00a0d\ud800") == "a\\tb\\u202ec d\\ud800"


def test_csv_holds_the_ranking(scan):
    result, _ = scan({"a, b": [1.0], 'c "d"': [2.0]}, REFERENCE)
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](result))))
    assert [row["prompt"] for row in rows] == ['c "d"', "a, b"]
    assert [float(row["score"]) for row in rows] == [2.0, 1.0]
    assert rows[0]["lines"] == "2"


def test_a_long_list_is_cut_on_the_screen_alone(scan):
    result, _ = scan({f"prompt {i}": [float(i)] for i in range(30)}, REFERENCE)
    text = FORMATS["table"](result)
    assert "prompt 10" in text
    assert "prompt 9" not in text
    assert "10 more prompts" in text
    assert len(FORMATS["csv"](result).splitlines()) == 31


@pytest.mark.parametrize(("share", "text"), [(0.0099, "0.99 %"), (0.05, "5 %"), (0.00016, "0.016 %"), (0.131, "13 %")])
def test_percent(share, text):
    assert percent(share) == text


def page(scan, tmp_path, prompts, reference=None):
    result, table = scan(prompts, reference)
    return to_html(result, *to_look_at(result, 0), run=run_of(table, tmp_path))


def test_prompts_are_text_on_the_page(scan, tmp_path):
    html = page(scan, tmp_path, {NASTY: [1.0], "b": [2.0]}, REFERENCE)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", html)
    assert "default-src 'none'" in html
    assert not re.search(r"(?:src|href)=\"(?!data:)", html)


@pytest.mark.parametrize(
    ("by_chance", "at_most", "told"),
    [
        (1.48, 5.42, "about 1 to 2 false alarms (at most 5)"),
        (2.0, 5.0, "about 2 false alarms (at most 5)"),
        (1.0, 1.2, "about 1 false alarm (at most 1)"),
        (0.3, 0.9, "about 0 to 1 false alarms (at most 1)"),
    ],
)
def test_the_headline_counts_in_whole_prompts(by_chance, at_most, told):
    threshold = {"status": "ok", "above": 68, "expected_false_positives": by_chance}
    assert (
        headline({"threshold": threshold | {"expected_false_positives_high": at_most}}) == f"68 flagged; expect {told}"
    )


def test_the_page_begins_with_the_headline_where_there_is_a_threshold(scan, tmp_path):
    scores = {f"p{i}": [float(value)] for i, value in enumerate([20, 19, 18, 17, 16, 5, 4, 3, 2])}
    result, _ = scan(scores, REFERENCE)
    html = page(scan, tmp_path, scores, REFERENCE)
    assert f'<p class="big">{headline(result)}</p>' in html
    assert headline(result).startswith("5 flagged; expect about ")
    assert "flagged" not in page(scan, tmp_path / "without", scores)


@pytest.mark.parametrize("prompts", [{"only": [1.0]}, {"a": [2.0], "b": [2.0]}, {"a": [None], "b": [1.0]}])
@pytest.mark.parametrize("reference", [None, REFERENCE])
def test_small_scans_have_a_page(scan, tmp_path, prompts, reference):
    assert "</html>" in page(scan, tmp_path, prompts, reference)


def test_no_word_of_a_scan_is_a_verdict(scan, tmp_path):
    """A prompt may say what it likes; none here does."""
    for reference, fpr in ((None, 0.2), (REFERENCE, 0.2), (REFERENCE, 0.01)):
        result, table = scan({"a": [1.0], "b": [None]}, reference, fpr=fpr, controls=["prompt-length"])
        shown = [render(result) for render in FORMATS.values()]
        shown.append(to_html(result, [], [], run=run_of(table, tmp_path)))
        assert not any("memoriz" in text.lower() or "memoris" in text.lower() for text in shown)


def test_the_published_example_keeps_its_promise():
    """Of held-out captions no more pass the threshold than the stated interval allows, and planted ones lead."""
    result = json.loads((EXAMPLE / "run" / "scan.json").read_text())
    labels = load_sample_set("tiny-sd-a-verbatim").items.set_index("item_id")["label"]
    by_id = {row["id"]: row for row in result["ranking"]}
    assert [labels[row["id"]] for row in result["ranking"][:40]] == [1] * 40
    negatives = [row["above_threshold"] for name, row in by_id.items() if labels[name] == 0]
    threshold = result["threshold"]
    assert len(negatives) == 120
    assert threshold["fpr_low"] <= sum(negatives) / len(negatives) <= threshold["fpr_high"]


def test_the_published_example_is_what_its_scores_say():
    from memdet.results.store import read_scores

    prompts, reference = (read_prompts(EXAMPLE / name) for name in ("prompts.jsonl", "held-out.jsonl"))
    stored = json.loads((EXAMPLE / "run" / "scan.json").read_text())
    scores = read_scores(EXAMPLE / "run").to_pandas()
    again = scan_result(scores, prompts, reference, detector="curvature-gap", fpr=0.01)
    for key in ("threshold", "likeness", "prompts", "reference"):
        assert again[key] == pytest.approx(stored[key]) if key == "likeness" else again[key] == stored[key]
    for row, kept in zip(again["ranking"], stored["ranking"], strict=True):
        assert row == kept | {"generations": []}


def test_the_guide_shows_the_published_example():
    guide = (ROOT / "docs" / "scan.md").read_text()
    result = json.loads((EXAMPLE / "run" / "scan.json").read_text())
    shown = guide.split("<!-- scan: results/scan/tiny-sd-a/run -->\n```text\n")[1].split("\n```\n<!-- end of scan -->")[
        0
    ]
    assert shown == FORMATS["table"](result).strip()
    labels = load_sample_set("tiny-sd-a-verbatim").items.set_index("item_id")["label"]
    above = [int(labels[row["id"]]) for row in result["ranking"] if row["above_threshold"]]
    planted = sum(int(labels[row["id"]]) for row in result["ranking"])
    others, false = len(result["ranking"]) - planted, len(above) - sum(above)
    sentence = " ".join(guide.split("<!-- above -->")[1].split("<!-- end -->")[0].split())
    assert sentence == (
        f"{len(above)} prompts above the threshold {sum(above)} are among the {planted} that were planted, and {false} "
        f"of the other {others} is, which is {percent(false / others)}"
    )
