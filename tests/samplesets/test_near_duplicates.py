"""Families of near-duplicates against a comparison of all pairs by sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memdet.samplesets import near_duplicates as module
from memdet.samplesets.near_duplicates import near_duplicates, words_of

PROMPTS = st.lists(st.lists(st.sampled_from("abcdef"), max_size=5).map(" ".join), min_size=1, max_size=12)


def by_pairs(prompts, threshold, known):
    """Single linkage the slow way."""
    families = list(range(len(prompts)))
    for i, first in enumerate(prompts):
        for j, second in enumerate(prompts[:i]):
            a, b = set(first.split()), set(second.split())
            if first == second or known[i] == known[j] or (a | b and len(a & b) / len(a | b) >= threshold):
                families = [families[i] if family == families[j] else family for family in families]
    order = list(dict.fromkeys(families))
    return [order.index(family) for family in families]


@settings(deadline=None)
@given(PROMPTS, st.sampled_from([0.3, 0.5, 0.75, 1.0]), st.data())
def test_families_are_those_of_all_pairs(prompts, threshold, data):
    known = data.draw(st.lists(st.integers(0, 20), min_size=len(prompts), max_size=len(prompts)))
    found = near_duplicates(prompts, known=[str(name) for name in known], threshold=threshold)
    assert found.tolist() == by_pairs(prompts, threshold, known)


def test_blocks_of_rows_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    prompts = [" ".join(rng.choice(list("abcdefghijkl"), 5)) for _ in range(120)]
    whole = near_duplicates(prompts, threshold=0.6).tolist()
    assert 1 < len(set(whole)) < 120
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 40)
    assert near_duplicates(prompts, threshold=0.6).tolist() == whole


def test_the_threshold_counts_shared_words_of_all_words():
    assert near_duplicates(["a b c", "b c d"]).tolist() == [0, 0]  # 2 of 4
    assert near_duplicates(["a b c", "c d e"]).tolist() == [0, 1]  # 1 of 5
    assert near_duplicates(["a b c d", "c d e f g", "d e f g h i"], threshold=0.5).tolist() == [0, 1, 1]


def test_a_chain_is_one_family():
    assert near_duplicates(["a b", "a b c", "c b d", "c d e"]).tolist() == [0, 0, 0, 0]


def test_case_white_space_and_punctuation_do_not_part_prompts():
    assert near_duplicates(["A  dog.", "a dog", "!!!", "???", "!!! "]).tolist() == [0, 0, 1, 2, 1]
    assert words_of("Île <b>d'été</b>, 4x4") == ["île", "b", "d", "été", "b", "4x4"]


def test_known_families_are_joined_by_a_near_duplicate():
    prompts = ["red car", "blue house", "red old car", "green tree"]
    assert near_duplicates(prompts, known=["x", "y", "y", "z"]).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("prompts", [["one"], ["", ""]])
def test_few_words(prompts):
    assert near_duplicates(prompts).tolist() == [0] * len(prompts)
