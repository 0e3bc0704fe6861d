"""What must hold on every controlled set before any detector is run."""

import numpy as np
import pandas as pd
import pytest

from memdet.auditing.audit import control_scores
from memdet.detectors import detector_classes, make_detector
from memdet.metrics import auroc, holm, permutation_above_half
from memdet.samplesets import load_sample_set, load_suite, specs_directory
from memdet.zoo import weights_directory
from memdet.zoo.tiny_sd.swap import MODELS, swap_table

CONTROLS = ["prompt-length", "prompt-case", "prompt-digits", "prompt-ngram"]
SETS = [name for name in load_suite("controlled").sample_sets if load_sample_set(name).has_prompts]
UNPAIRED = [name for name in SETS if name != "tiny-sd-swap"]


def held_out_items(name):
    items = load_sample_set(name).items
    return items[items["split"] == "test"]


def scored(name, control):
    frame = held_out_items(name)
    scores, status, _ = control_scores(load_sample_set(name), frame, make_detector(control, detector_classes()))
    assert status == "ok"
    return frame, scores


@pytest.mark.slow
def test_no_prompt_control_is_above_chance_on_any_set():
    """One-sided permutation tests, adjusted over all controls and sets."""
    p_values = {}
    for name in UNPAIRED:
        for control in CONTROLS:
            frame, scores = scored(name, control)
            p_values[name, control] = permutation_above_half(scores, frame["label"], frame["cluster"], draws=2_000)
    assert len(p_values) == len(CONTROLS) * len(UNPAIRED) >= 40
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    assert min(adjusted.values()) > 0.05, min(adjusted, key=adjusted.__getitem__)


def test_swapped_models_are_asked_the_same_prompts():
    items = held_out_items("tiny-sd-swap")
    memorized, others = items[items["label"] == 1], items[items["label"] == 0]
    assert sorted(memorized["condition"]) == sorted(others["condition"])
    assert memorized["condition"].is_unique
    assert set(items["model"]) == set(MODELS)
    by_prompt = items.groupby("condition")
    assert (by_prompt["model"].nunique() == 2).all()
    assert (by_prompt["cluster"].nunique() == 1).all()
    assert (by_prompt["split"].nunique() == 1).all()


@pytest.mark.parametrize("control", CONTROLS)
def test_no_text_control_can_tell_swapped_items_apart(control):
    frame, scores = scored("tiny-sd-swap", control)
    assert control == "prompt-ngram" or len(set(scores)) > 1  # what it is taught contradicts itself
    assert auroc(scores, frame["label"]) == pytest.approx(0.5, abs=1e-9)


def test_the_swapped_table_is_made_from_the_models():
    stored = pd.read_csv(specs_directory() / "data" / "tiny-sd-swap.csv")
    pd.testing.assert_frame_equal(stored, swap_table(weights_directory(MODELS[0]).parent), check_dtype=False)


@pytest.mark.parametrize("model", MODELS)
def test_extraction_grows_with_the_number_of_copies(model):
    items = pd.read_parquet(weights_directory(model) / "items.parquet")
    single = items[items["variants"] == 1].groupby("copies")
    medians = single["extraction_rate"].median()
    assert medians.index.tolist() == [0, 1, 4, 16, 64, 256]
    assert (np.diff(medians) >= 0).all()
    assert medians[256] == 1
    assert (np.diff(single["extraction_rate"].mean()[[1, 4, 16, 64, 256]]) >= 0).all()
    ratios = single["distance_ratio"].median()
    assert ratios[256] < 0.25 < ratios[64] < ratios[16] < ratios[4]


@pytest.mark.parametrize("model", MODELS)
def test_verbatim_labels_agree_with_what_was_measured(model):
    items = load_sample_set(f"{model}-verbatim").items
    assert (items["extraction"][items["label"] == 1] >= 0.5).all()
    assert (items["extraction"][items["label"] == 0] < 0.5).all()
