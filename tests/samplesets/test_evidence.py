"""What counts once: equal prompts and images are one cluster, and none may speak against itself."""

import dataclasses
import json
import re
import unicodedata
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from memdet.cli import group
from memdet.errors import UserError
from memdet.metrics import evaluate_scores
from memdet.samplesets import SampleSet, load_sample_set, load_samples_file, read_prompts, sample_set_ids, scan_set
from memdet.samplesets.evidence import evidence_of, joined_clusters, refuse_contradictions, same_text

FOUR = ["a red shoe", "a blue bag", "a green coat", "a white shirt"]
SPELLINGS = [str, str.upper, lambda text: f"  {text.replace(' ', '   ')}\t", str.title]
EXACT_OF_TWO = 0.025**0.5  # Clopper and Pearson: two of two, at 95 %


def frame(prompts, labels, **columns):
    return pd.DataFrame({"prompt": prompts, "label": labels, **columns})


def eighty(spelled=True):
    """Four prompts twenty times each, two of them memorized, in several spellings."""
    prompts = [SPELLINGS[k % 4](text) if spelled else text for k in range(20) for text in FOUR]
    return prompts, [1, 1, 0, 0] * 20


def sizes(items):
    return sorted(items["cluster"].value_counts().tolist())


@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("stated", [False, True])
def test_four_prompts_twenty_times_are_four_clusters(noise, stated):
    prompts, labels = eighty()
    columns = {"cluster": [f"own-{k}" for k in range(80)]} if stated else {}
    items = SampleSet.from_pandas(frame(prompts, labels, **columns), noise=noise).items
    assert sizes(items) == [20] * 4
    assert all(len(set(map(same_text, of_one))) == 1 for _, of_one in items.groupby("cluster")["condition"])


def test_their_interval_is_that_of_two_against_two(tmp_path):
    prompts, labels = eighty()
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": p, "memorized": y}) for p, y in zip(prompts, labels, strict=True)))
    items = load_samples_file(path, model="m").items
    found = evaluate_scores(items["label"].to_numpy(), items["label"].to_numpy(), items["cluster"].to_numpy(str))
    assert (found.n_clusters, found.n_effective) == (4, 2.0)
    assert (found.auroc.value, found.auroc.high) == (1.0, 1.0)
    assert found.auroc.low == pytest.approx(EXACT_OF_TWO)
    assert round(found.auroc.low, 3) == 0.158


@pytest.mark.slow
def test_the_run_and_its_table_count_them_so():
    import memdet

    model = memdet.load_model("tiny-sd-a")
    prompts, labels = eighty(spelled=False)
    run = memdet.evaluate(["wen2024"], SampleSet.from_pandas(frame(prompts, labels)), model=model, progress=False)
    rows = {row["detector"]: row for row in run.table}
    assert {row["n_clusters"] for row in rows.values()} == {4}
    assert {row["n_effective"] for row in rows.values()} == {2.0}


def test_clusters_are_joined_through_each_other():
    """First x and y by the text a, then y and z by the text b; w stays."""
    prompts = ["a", "A", "b", " b ", "c"]
    items = SampleSet.from_pandas(frame(prompts, [1, 1, 1, 1, 0], cluster=["x", "y", "y", "z", "w"])).items
    assert items["cluster"].tolist() == ["x", "x", "x", "x", "w"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 5)), min_size=1, max_size=14))
def test_joined_clusters_are_the_connected_components(pairs):
    clusters, evidence = [name for name, _ in pairs], np.array([number for _, number in pairs])
    part = list(range(len(pairs)))  # the slow way
    for i in range(len(pairs)):
        for j in range(i):
            if clusters[i] == clusters[j] or evidence[i] == evidence[j]:
                part = [part[i] if p == part[j] else p for p in part]
    found = joined_clusters(clusters, evidence)
    assert [[a == b for b in found] for a in found] == [[a == b for b in part] for a in part]
    assert set(found) <= set(clusters)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Ann Graham", " ann  graham\n", True),
        ("caf\u00e9", unicodedata.normalize("NFD", "CAF\u00c9"), True),
        ("stra\u00dfe", "STRASSE", True),
        ("a\u00a0b", "a b", True),  # a space that does not break
        ("a cat", "a cat.", False),
        ("ab", "a b", False),
    ],
)
def test_what_is_the_same_text(one, other, same):
    assert (same_text(one) == same_text(other)) is same


@pytest.mark.parametrize("name", sample_set_ids())
def test_shipped_sets_hold_no_evidence_twice(name, request):
    from memdet.doctor import SHIPPED, _sources

    if any(source.kind not in SHIPPED for source in _sources(name)):
        pytest.skip("its data are fetched")
    sample_set = load_sample_set(name)
    found = evidence_of(sample_set.items, has_prompts=sample_set.has_prompts, noise=sample_set.protocol.noise)
    if name == "mixture-2d":  # its items are draws
        assert found is None
        assert sample_set.items["cluster"].is_unique
    else:
        assert len(set(found.tolist())) == len(sample_set)


def conditions(**columns):
    return pd.DataFrame({"condition": ["1", "1", "2", "2"], "label": [1, 1, 0, 0], **columns})


def test_conditions_that_are_no_text_are_one_where_all_items_start_from_one_noise():
    own = {"cluster": list("abcd")}
    assert sizes(SampleSet.from_pandas(conditions()).items) == [2, 2]
    assert sizes(SampleSet.from_pandas(conditions(), noise="per-item").items) == [1] * 4  # an item is a draw
    assert sizes(SampleSet.from_pandas(conditions(**own), noise="per-item").items) == [1] * 4
    assert sizes(SampleSet.from_pandas(conditions(**own)).items) == [1] * 4  # the set says so itself


def pictures():
    rng = np.random.default_rng(0)
    a, b, c = (rng.uniform(-1, 1, (1, 4, 4)).astype(np.float32) for _ in range(3))
    return [a, b, a.copy(), c]


def test_equal_images_are_one_cluster_whatever_they_are_conditioned_on():
    columns = {"condition": list("1123"), "label": [1, 0, 1, 0], "image": pictures(), "cluster": list("abcd")}
    items = SampleSet.from_pandas(pd.DataFrame(columns)).items
    assert items["cluster"].tolist() == ["a", "b", "a", "d"]


def test_a_prompt_with_several_images_is_as_many_items():
    columns = {"prompt": ["a"] * 4, "label": [1, 0, 1, 0], "image": pictures()}
    assert sizes(SampleSet.from_pandas(pd.DataFrame(columns)).items) == [1, 1, 2]


ROWS = [("a cat", 1), ("a dog", 0), ("A  cat", 0), ("a dog", 1), ("a cow", 0)]
TOLD = (
    r"2 prompts are labelled both 1 and 0 \('a cat', items item-00001, item-00003; 'a dog', items item-00002, "
    r"item-00004\); give each one label, or leave it out"
)


def test_a_prompt_under_both_labels_is_refused_with_its_number_and_items():
    import memdet

    items = SampleSet.from_pandas(frame(*zip(*ROWS, strict=True)), id="mine")
    with pytest.raises(UserError, match=f"^sample set mine: {TOLD}$"):
        memdet.evaluate(["wen2024"], items, model="tiny-sd-a", progress=False)


def test_the_command_refuses_it_too_before_anything_is_scored(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": p, "memorized": y}) for p, y in ROWS))
    arguments = ["run", "--model", "tiny-sd-a", "--samples", str(path), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(group, arguments, standalone_mode=False)
    assert isinstance(done.exception, UserError)
    assert re.search(TOLD, str(done.exception))
    assert not (tmp_path / "run").exists()


def test_an_image_under_both_labels_is_refused():
    columns = {"prompt": list("abcd"), "label": [1, 0, 0, 0], "image": pictures()}
    items = SampleSet.from_pandas(pd.DataFrame(columns)).items
    with pytest.raises(UserError, match=r"^it: 1 image is labelled both 1 and 0 \(items item-00001, item-00003\)"):
        refuse_contradictions(items, "it", has_prompts=True, noise="shared")


def test_a_prompt_may_be_memorized_by_one_model_and_not_by_another():
    two = SampleSet.from_pandas(frame(["a", "a", "b", "b"], [1, 0, 0, 1], model=["m", "n", "m", "n"]))
    assert sizes(two.items) == [1] * 4
    assert sizes(two.with_model("m").items) == [2, 2]


def test_a_prompt_in_both_splits_is_refused():
    columns = {"split": ["test", "test", "dev", "dev"]}
    items = SampleSet.from_pandas(frame(["a", "b", "A", "c"], [1, 0, 1, 0], **columns)).items
    with pytest.raises(UserError, match=r"1 prompt is in both dev and test \('a', items .*constants are fitted on dev"):
        refuse_contradictions(items, "it", has_prompts=True, noise="per-item")


def test_a_run_refuses_whatever_made_the_contradiction():
    import memdet

    swap = load_sample_set("tiny-sd-swap")
    with pytest.raises(UserError, match="sample set tiny-sd-swap: 3.. prompts are labelled both 1 and 0"):
        memdet.evaluate(["wen2024"], swap, model="tiny-sd-a", progress=False)
    plain = SampleSet.from_pandas(frame(["a", "b"], [1, 0]), model="tiny-sd-a")
    both = dataclasses.replace(plain, items=plain.items.assign(condition="a"))
    with pytest.raises(UserError, match="sample set data-frame: 1 prompt is labelled both"):
        memdet.evaluate(["wen2024"], both, progress=False)


def test_a_scan_counts_a_reference_prompt_once_in_any_spelling(tmp_path):
    (tmp_path / "prompts.txt").write_text("a cat\na dog\n")
    (tmp_path / "reference.jsonl").write_text(
        "\n".join(json.dumps({"prompt": p}) for p in ["A CAT", "a cow", "a  Cow", "a hen"])
    )
    prompts, reference = read_prompts(tmp_path / "prompts.txt"), read_prompts(tmp_path / "reference.jsonl")
    assert [prompt.cluster for prompt in reference.prompts] == ["line-00001", "line-00002", "line-00002", "line-00004"]
    items = scan_set(prompts, reference, model="m", steps=1, guidance=1.0, seeds=1).items
    of_reference = items[items["stratum"] == "reference"]
    assert of_reference["condition"].tolist() == ["a cow", "a  Cow", "a hen"]
    assert of_reference["cluster"].nunique() == 2


def test_images_from_png_are_compared_by_their_pixels():
    image = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4))
    files = []
    for level in (0, 9):
        buffer = BytesIO()
        image.save(buffer, "PNG", compress_level=level)
        files.append(buffer.getvalue())
    other = BytesIO()
    Image.new("L", (4, 4)).save(other, "PNG")
    assert files[0] != files[1]
    columns = {"condition": list("abc"), "label": [1, 1, 0], "image": [*files, other.getvalue()]}
    assert sizes(SampleSet.from_pandas(pd.DataFrame(columns)).items) == [1, 2]
