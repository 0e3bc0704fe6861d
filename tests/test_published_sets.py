"""The published sets: their specs, their committed audits, and the page that shows them."""

import json
import re
from pathlib import Path

import pytest
import yaml

from memdet.auditing.audit import audit
from memdet.auditing.text import summary_markdown, to_markdown
from memdet.published.figures import published_figures
from memdet.published.text import figures_table
from memdet.samplesets import Fetcher, load_sample_set, load_spec, load_suite, specs_directory
from memdet.tables.formats import markdown
from memdet.tables.numbers import interval, number

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "published-sets.md").read_text(encoding="utf-8")
AUDITS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "results" / "audits").glob("*.json")}
FILES = ROOT.parent / "shared" / "data" / "prompts"
FETCHER = Fetcher(FILES, offline=True)
PUBLISHED = ["jeon-sd1", "nemo-sd1-laion"]
CONTROLLED = load_suite("controlled").sample_sets
needs_files = pytest.mark.skipif(not FILES.is_dir(), reason=f"the published prompt files are not in {FILES}")


def block(command):
    return PAGE.split(f"<!-- table: {command} -->\n")[1].split("<!-- end of table -->")[0].strip()


def same(found, expected):
    """Equal, numbers within what another machine's linear algebra may change."""
    if isinstance(expected, dict):
        return set(found) == set(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(same(a, b) for a, b in zip(found, expected, strict=True))
    if isinstance(expected, float):
        return found == pytest.approx(expected, abs=5e-3)
    return found == expected


def without_verdict(result):
    """Its text rounds numbers, which may fall on another side elsewhere."""
    return {key: value for key, value in result.items() if key != "verdict"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_page_shows_the_committed_audit(name):
    assert block(f"memdet audit {name} --format markdown") == to_markdown(AUDITS[name])


def test_the_page_shows_the_audits_of_the_controlled_sets():
    expected = summary_markdown([AUDITS[name] for name in CONTROLLED])
    assert block("memdet audit --suite controlled --format markdown") == expected


def test_numbers_in_sentences_are_those_of_the_audits():
    jeon = {row["name"]: row for row in AUDITS["jeon-sd1"]["controls"]}
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    footguns = " ".join((ROOT / "docs" / "footguns.md").read_text(encoding="utf-8").split())
    for text in (readme, footguns):
        assert f"capitalised words alone reaches AUROC {interval(jeon['prompt-case'], 'auroc')}" in text
    assert f"a text classifier {interval(jeon['prompt-ngram'], 'auroc')}" in readme
    nemo = {row["name"]: row for row in AUDITS["nemo-sd1-laion"]["controls"]}
    pair = [number(rows["prompt-case"]["auroc"]) for rows in (jeon, nemo)]
    assert f"letter case falls from {pair[0]} to {pair[1]}" in PAGE
    template = {row["name"]: row for row in AUDITS["tiny-sd-a-template"]["controls"]}
    assert f"(adjusted p {number(template['prompt-ngram']['p_value'])})" in PAGE


def test_the_page_shows_the_published_figures():
    shown = PAGE.split("<!-- figures: begin -->\n")[1].split("<!-- figures: end -->")[0].strip()
    assert shown == markdown.draw(figures_table([one for one in published_figures() if one.sample_set]))


def test_every_published_set_is_on_the_page():
    for name in [*load_suite("published").sample_sets, "asthana-rv51"]:
        assert f"`{name}`" in PAGE


@needs_files
@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_audits_of_published_sets_can_be_made_again(name):
    result = audit(load_sample_set(name, fetcher=FETCHER))
    assert same(without_verdict(result), without_verdict(AUDITS[name]))
    assert result["verdict"].split(":")[0] == AUDITS[name]["verdict"].split(":")[0] == "flagged"


def test_text_alone_separates_the_standard_set():
    rows = {row["name"]: row for row in AUDITS["jeon-sd1"]["controls"]}
    assert rows["prompt-ngram"]["auroc_low"] > 0.97
    assert rows["prompt-ngram"]["flagged"]
    assert AUDITS["jeon-sd1"]["flagged"] is True


@pytest.mark.parametrize("name", CONTROLLED)
def test_every_controlled_set_passes(name):
    assert AUDITS[name]["flagged"] is False
    assert AUDITS[name]["verdict"].startswith("passed")
    sample_set = load_sample_set(name)
    assert (sample_set.version, sample_set.content_hash) == (AUDITS[name]["version"], AUDITS[name]["content_hash"])


@pytest.mark.parametrize("name", ["tiny-sd-b-template", "fashion-pixel-generated", "oracle-16k"])
def test_audits_of_controlled_sets_can_be_made_again(name):
    assert same(without_verdict(audit(load_sample_set(name))), without_verdict(AUDITS[name]))


def test_audits_hold_no_prompts():
    for name in PUBLISHED:
        for value in re.findall(r'"([^"]*)"', json.dumps(AUDITS[name]["largest_families"])):
            assert " " not in value
        assert all(" " not in row["word"] for row in AUDITS[name]["vocabulary"]["telling"])


@needs_files
def test_strata_and_counts_of_the_files():
    jeon = load_sample_set("jeon-sd1", fetcher=FETCHER).items
    assert jeon.groupby(["label", "stratum"]).size().to_dict() == {
        (0, "coco"): 200,
        (0, "lexica"): 100,
        (0, "tuxemon"): 100,
        (0, "gpt-4"): 100,
        (1, "memorized"): 500,
    }
    assert jeon.loc[jeon["stratum"] == "tuxemon", "condition"].str.contains("tuxemon").all()
    assert jeon["condition"].iloc[-1] == "A vibrant street festival in New Orleans"
    nemo = load_sample_set("nemo-sd1-laion", fetcher=FETCHER).items
    assert nemo.groupby(["label", "stratum"]).size().to_dict() == {(0, "control"): 500, (1, "TM"): 388, (1, "VM"): 112}
    assert nemo["condition"].tolist()[:500] == jeon["condition"].tolist()[:500]


def test_what_is_fetched_is_pinned():
    """Every address names a commit, every fetched file a checksum; what has none is not fetched."""
    for name in [*load_suite("published").sample_sets, "asthana-rv51"]:
        spec = load_spec(name)
        assert yaml.safe_load((specs_directory() / f"{name}.yaml").read_text())["source"]["kind"] == "files"
        assert {asset.name for asset in spec.assets} == {"prompts", "model"}
        assert spec.known_problems
        for part in spec.source.parts:
            address = part.source.url if part.source.kind == "url" else part.source.address
            assert re.match(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/", address)
            assert part.source.kind == "url" or name == "asthana-rv51"
