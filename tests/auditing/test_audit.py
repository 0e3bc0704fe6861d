"""Audits of sets whose answer is known: what is flagged, what passes, and what is left undecided."""

import json
import math
from functools import cache

import numpy as np
import pytest

from memdet.auditing import audit as module
from memdet.auditing.audit import audit
from memdet.auditing.prompt_shift import duplicates, largest_families, shifts, vocabulary
from memdet.auditing.text import FORMATS, SUMMARIES
from memdet.detectors import detector_classes, make_detectors, with_controls
from memdet.errors import UserError
from memdet.metrics import auroc, evaluate_scores, holm, permutation_above_half
from memdet.models import load_model
from memdet.running import RunOptions, run
from memdet.samplesets import load_prompt_pair, load_sample_set, load_suite

WORDS = [f"word{k}" for k in range(400)]
TEXT_CONTROLS = ["prompt-case", "prompt-digits", "prompt-length", "prompt-ngram"]


def prompts(n, seed, words=8):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, words, replace=False)) for _ in range(n)]


@pytest.fixture
def pair(tmp_path):
    def make(memorized, control):
        for name, lines in (("m.txt", memorized), ("c.txt", control)):
            (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return load_prompt_pair(tmp_path / "m.txt", tmp_path / "c.txt")

    return make


def by_name(result):
    return {row["name"]: row for row in result["controls"]}


def test_a_set_with_random_labels_passes(pair):
    result = audit(pair(prompts(80, 0), prompts(80, 1)))
    assert result["flagged"] is False
    assert result["verdict"].startswith("passed")
    assert set(by_name(result)) == {*TEXT_CONTROLS, "random"}
    assert {row["allowed"] for name, row in by_name(result).items() if name in TEXT_CONTROLS} == {0.5}
    assert by_name(result)["random"]["allowed"] is None
    assert result["n_effective"] == 80


def test_capital_letters_flag_a_set(pair):
    result = audit(pair([prompt.title() for prompt in prompts(60, 0)], prompts(60, 1)))
    row = by_name(result)["prompt-case"]
    assert (row["auroc"], row["tpr_at_1_fpr"], row["flagged"]) == (1.0, None, True)  # 60 negatives resolve no 1 %
    assert result["flagged"] is True
    assert result["verdict"].startswith("flagged")
    assert "prompt-case" in result["verdict"]


def test_prompts_that_are_shorter_flag_a_set(pair):
    """An AUROC of 0 tells the classes apart as well as one of 1."""
    result = audit(pair(prompts(60, 0, words=5), prompts(60, 1, words=12)))
    assert by_name(result)["prompt-length"]["auroc"] == 0.0
    assert by_name(result)["prompt-length"]["flagged"]
    assert by_name(result)["prompt-case"]["flagged"] is False


def test_too_few_families_are_undecided(pair):
    result = audit(pair([prompt.title() for prompt in prompts(3, 0)], prompts(3, 1)))
    assert result["flagged"] is None
    assert result["verdict"].startswith("undecided")
    assert by_name(result)["prompt-ngram"]["status"] == "not-applicable"
    assert "5 folds need 5 clusters" in by_name(result)["prompt-ngram"]["message"]


def test_a_family_counts_once(pair):
    """Forty copies of one capitalised prompt are one witness, not forty."""
    family = [f"Some {WORDS[0]} Of {WORDS[1]} And {WORDS[2]} number{k}" for k in range(40)]
    alone = audit(pair([*family, *prompts(4, 0)], prompts(44, 1)))
    assert alone["n_clusters"] == 49
    assert alone["n_effective_positive"] == pytest.approx(44**2 / (40**2 + 4), abs=1e-6)
    assert alone["n_effective"] == alone["n_effective_positive"]
    assert by_name(alone)["prompt-case"]["auroc"] > 0.9
    assert by_name(alone)["prompt-case"]["flagged"] is False
    spread = [f"{prompt} Title" for prompt in prompts(40, 2)]
    assert by_name(audit(pair([*spread, *prompts(4, 0)], prompts(44, 1))))["prompt-case"]["flagged"]


def test_numbers_are_those_of_the_metrics(pair):
    sample_set = pair(prompts(30, 0, words=6) + ["Dup one two three", "dup one two three four"], prompts(30, 1))
    rows = by_name(audit(sample_set))
    items = sample_set.items
    families = module.families_of(sample_set, items)
    assert families[30] == families[31]
    lengths = items["condition"].str.len().to_numpy(float)
    expected = evaluate_scores(lengths, items["label"], families)
    assert rows["prompt-length"]["auroc"] == pytest.approx(expected.auroc.value, abs=1e-6)
    assert rows["prompt-length"]["auroc_low"] == pytest.approx(expected.auroc.low, abs=1e-6)
    p = {}
    for name in TEXT_CONTROLS:
        control = next(c for c in module.with_controls([], module.detector_classes()) if c.info.name == name)
        scores, _, _ = module.control_scores(sample_set, items.assign(cluster=families.astype(str)), control)
        if name == "prompt-ngram":
            p[name] = permutation_above_half(scores, items["label"], families, spread=1.5, draws=2_000)
        else:
            both = [permutation_above_half(s * scores, items["label"], families, draws=2_000) for s in (1, -1)]
            p[name] = min(1.0, 2 * min(both))
    assert [rows[name]["p_value"] for name in p] == pytest.approx(holm(list(p.values())), abs=1e-6)


def test_folds_are_grouped_by_the_families_found(pair, monkeypatch):
    from sklearn.model_selection import StratifiedGroupKFold

    seen, split = [], StratifiedGroupKFold.split

    def spy(self, x, y, groups):
        for train, held_out in split(self, x, y, groups):
            seen.append((train, held_out))
            yield train, held_out

    monkeypatch.setattr(StratifiedGroupKFold, "split", spy)
    doubled = [f"{prompt}{tail}" for prompt in prompts(20, 0) for tail in ("", " again")]
    sample_set = pair(doubled, [prompt.replace("again", "anew") for prompt in prompts(20, 1)])
    audit(sample_set)
    families = module.families_of(sample_set, sample_set.items)
    assert len(set(families)) == 40
    assert len(seen) == 5
    assert all(not set(families[train]) & set(families[held_out]) for train, held_out in seen)


@cache
def rows_of_audit(name):
    return by_name(audit(load_sample_set(name)))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_run_and_an_audit_show_one_auroc_of_each_control(seeds):
    """On every set that ships and is asked with prompts, whatever noise seeds the run averages over."""
    sets = [load_sample_set(name) for name in load_suite("controlled").sample_sets]
    sets = [of_set for of_set in sets if of_set.has_prompts]
    small = load_model("mixture-2d")  # controls never ask it
    models = {name: small for of_set in sets for name in of_set.items["model"].unique()}
    controls = with_controls([], detector_classes())
    result = run(sets, controls, None, RunOptions(seeds=seeds), models=models, progress=False)
    found = {(row["sample_set"], row["detector"]): row["auroc"] for row in result.table}
    assert len(sets) >= 11
    for of_set in sets:
        for name, row in rows_of_audit(of_set.id).items():
            assert found[of_set.id, name] == pytest.approx(row["auroc"], abs=1e-6), (of_set.id, name)


def test_a_run_keeps_near_duplicates_in_one_fold(pair):
    """Copies of one prompt with a word changed say its label, unless no fold has both; so a run groups them."""
    copies = [f"{prompt} number{k}" for prompt in prompts(80, 0) for k in range(4)]
    sample_set = pair(copies[:160], copies[160:])
    model = load_model("mixture-2d")
    models = dict.fromkeys(sample_set.items["model"].unique(), model)
    controls = make_detectors(["prompt-ngram"], detector_classes())
    (row,) = run([sample_set], controls, None, RunOptions(seeds=1), models=models, progress=False).table
    assert row["auroc"] < 0.6
    leaking, _, _ = module.control_scores(sample_set, sample_set.items, controls[0])
    assert auroc(leaking, sample_set.items["label"]) > 0.95


def test_the_spec_says_what_is_allowed(monkeypatch):
    sample_set = load_sample_set("tiny-sd-a-template")
    assert set(sample_set.spec.blind_controls) == set(TEXT_CONTROLS)
    object.__setattr__(sample_set.spec, "blind_controls", {"prompt-length": 0.9, "random": 0.5})
    rows = by_name(audit(sample_set))
    assert {name: row["allowed"] for name, row in rows.items()} == dict.fromkeys(TEXT_CONTROLS, 0.5) | {
        "prompt-length": 0.9,
        "random": 0.5,
    }


def test_a_control_within_its_allowance_flags_nothing(pair, monkeypatch):
    sample_set = pair([prompt.title() for prompt in prompts(60, 0)], prompts(60, 1))
    assert audit(sample_set)["flagged"]
    monkeypatch.setattr(module, "ALLOWED", 1.0)
    assert audit(sample_set)["flagged"] is False


def test_images_are_audited_by_the_controls_of_images():
    result = audit(load_sample_set("fashion-pixel-generated"))
    rows = by_name(result)
    assert set(rows) == {"image-size", "image-norm", "random"}
    assert rows["image-size"]["auroc"] < 0.1
    assert result["flagged"] is False
    assert "the spec sets no limit to" in result["verdict"]
    assert "shifts" not in result


def test_images_of_different_sizes_are_refused():
    sample_set = load_sample_set("fashion-pixel-generated")
    sample_set.items["image"] = [image[:, : 8 + k % 2] for k, image in enumerate(sample_set.items["image"])]
    with pytest.raises(UserError, match=r"an image of shape \(1, 9, 16\), the first is one of shape \(1, 8, 16\)"):
        audit(sample_set)


def test_labels_that_are_no_text_say_why():
    result = audit(load_sample_set("fashion-multi-1"))
    assert result["flagged"] is False
    assert "not text" in result["verdict"]
    assert by_name(result)["prompt-ngram"]["status"] == "not-applicable"
    assert result["n_effective"] == 15


def test_shifts_by_hand():
    texts = ["A <b>big</b> Dog", "naïve &amp; small", "a dog.", "one two three"]
    rows = {row["measure"]: row for row in shifts(texts, np.array([1, 1, 0, 0]), {"given": [1, 2, 3, 4]})}
    assert (rows["given"]["memorized"], rows["given"]["control"], rows["given"]["auroc"]) == (1.5, 3.5, 0.0)
    assert (rows["words"]["memorized"], rows["words"]["control"]) == (3.0, 2.5)
    assert rows["prompts with HTML"]["memorized"] == 1.0
    assert rows["prompts with HTML"]["control"] == 0.0
    assert rows["prompts with characters outside ASCII"]["memorized"] == 0.5
    assert rows["prompts that end with a full stop"]["control"] == 0.5


def test_vocabulary_by_hand():
    texts = ["rug red", "rug blue", "cat", "a cat", "dog"]
    found = vocabulary(texts, np.array([1, 1, 1, 0, 0]), np.array([0, 0, 1, 2, 3]))
    assert found["memorized"] == {"distinct": 4, "distinct_in_other": 1 / 4, "running_in_other": 1 / 5}
    assert found["control"] == {"distinct": 3, "distinct_in_other": 1 / 3, "running_in_other": 1 / 3}
    shares = {row["word"]: (row["memorized"], row["control"]) for row in found["telling"]}
    assert shares["rug"] == (0.5, 0)  # one family of two
    assert shares["cat"] == (0.5, 0.5)
    assert found["telling"][-1]["word"] == "cat"


def test_duplicates_and_families_by_hand():
    texts = ["A Dog", "a  dog", "red area rug", "a dog", "blue area rug", "tree"]
    labels, families = np.array([1, 1, 1, 0, 0, 0]), np.array([0, 0, 1, 0, 1, 2])
    assert duplicates(texts, labels, families) == {
        "exact_memorized": 1,
        "exact_control": 0,
        "exact_across": 3,
        "near_across": 5,
    }
    assert largest_families(texts, labels, families) == [
        {"memorized": 2, "control": 1, "words": ["a", "dog"]},
        {"memorized": 1, "control": 1, "words": ["area", "rug"]},
    ]


def test_strata_are_compared_with_the_whole_other_class(pair):
    sample_set = pair([*prompts(20, 0), *(p.title() for p in prompts(20, 2))], prompts(40, 1))
    sample_set.items["stratum"] = ["plain"] * 20 + ["title"] * 20 + ["other"] * 40
    strata = {part["stratum"]: part for part in audit(sample_set)["strata"]}
    assert set(strata) == {"plain", "title"}
    assert {name: part["items"] for name, part in strata.items()} == {"plain": 20, "title": 20}
    case = {name: next(c for c in part["controls"] if c["name"] == "prompt-case") for name, part in strata.items()}
    assert case["title"]["auroc"] == 1.0
    assert case["plain"]["auroc"] == 0.5


def test_json_is_the_contract(pair):
    result = json.loads(FORMATS["json"](audit(pair(prompts(20, 0), prompts(20, 1)))))
    assert {"controls", "n_effective", "verdict"} <= set(result)
    assert all({"name", "auroc", "auroc_low", "auroc_high", "tpr_at_1_fpr"} <= set(row) for row in result["controls"])
    assert not any(isinstance(value, float) and math.isnan(value) for value in result.values())


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_text_shows_every_part(form, pair):
    result = audit(pair([f"{p} same few words" for p in prompts(20, 0)], prompts(20, 1)))
    result["strata"] = [{"stratum": "s|t", "label": 1, "items": 3, "n_effective": 2.5, "controls": result["controls"]}]
    text = FORMATS[form](result)
    for part in (
        "m.txt against c.txt: 20 memorized, 20 not",
        "prompt-ngram",
        "not resolvable",
        "distinct words",
        "same",
    ):
        assert part in text
    assert result["verdict"] in text
    summary = SUMMARIES[form]([result, result])
    assert summary.count("m.txt against c.txt") >= 2
    assert result["verdict"].partition(":")[0] in summary


def test_nothing_that_a_file_says_reaches_the_terminal_raw(pair):
    evil = "\x1b[2J\x1b]0;title\x07 \u202eevil\u202c \x9b31m \r"
    result = audit(pair([f"{evil} {p}" for p in prompts(20, 0)], [f"{evil} {p}" for p in prompts(20, 1)]))
    result["strata"] = [{"stratum": evil, "label": 1, "items": 3, "n_effective": 2.5, "controls": result["controls"]}]
    result["sample_set"] = evil
    for form in ("table", "markdown", "json"):
        assert all(c.isprintable() or c == "\n" for c in FORMATS[form](result)), form
        assert all(c.isprintable() or c == "\n" for c in SUMMARIES[form]([result])), form
