"""memdet from Python, as its users write it."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import memdet
from memdet.errors import UserError


class Mine(memdet.Detector):
    """The score difference, by hand."""

    info = memdet.DetectorInfo(name="mine", title="by hand", access="score", cost="2 F")

    def score(self, probe):
        return probe.difference(probe.noise, probe.timesteps[0]).flatten(1).norm(dim=1)


@pytest.fixture(scope="module")
def run():
    return memdet.evaluate(["wen2024", Mine()], "mixture-2d", seeds=2, progress=False)


def test_a_run_in_memory_has_table_scores_curve_comparison_and_page(run):
    rows = {row["detector"]: row for row in run.table}
    assert rows["mine"]["auroc"] == rows["wen2024"]["auroc"] == 1.0
    assert "random" in rows  # controls are added
    assert run.scores.shape == (800, len(rows))
    np.testing.assert_allclose(run.scores["mine"], run.scores["wen2024"], rtol=1e-12)
    assert run.roc("mine").tpr[-1] == 1.0
    (row,) = run.compare("mine", "wen2024")
    assert (row["difference"], row["p"]) == (0.0, 1.0)
    assert "mixture-2d" in run.to_html()
    assert run.path is None


def test_a_kept_run_is_the_same_and_is_resumed(run, tmp_path):
    kept = memdet.evaluate(["wen2024", Mine()], ["mixture-2d"], seeds=2, out=tmp_path / "run", progress=False)
    pd.testing.assert_frame_equal(kept.scores, run.scores)
    assert repr(memdet.load_run(tmp_path / "run")) == repr(kept)
    stored = (tmp_path / "run" / "scores.parquet").stat().st_mtime_ns
    memdet.evaluate(["wen2024", Mine()], "mixture-2d", seeds=2, out=str(tmp_path / "run"), progress=False)
    assert (tmp_path / "run" / "scores.parquet").stat().st_mtime_ns == stored


def test_a_string_where_a_list_is_expected_is_one_name():
    one = memdet.evaluate("wen2024", "mixture-2d", seeds=1, progress=False)
    assert [entry.label for entry in one.detectors if not entry.is_control] == ["wen2024"]
    assert list(one.sets) == [("mixture-2d", 1)]


def test_a_model_takes_the_place_of_the_sets_own():
    sample_set = memdet.load_sample_set("mixture-2d")
    model = memdet.load_model("mixture-2d")
    model.name = "another name"
    run = memdet.evaluate("wen2024", sample_set, model=model, seeds=1, device="cpu", progress=False)
    entry = run.manifest.sample_set("mixture-2d")
    assert entry.model == "another name"
    assert entry.model_hashes == {"another name": memdet.load_model("mixture-2d").fingerprint()}
    assert sample_set.model == "mixture-2d"
    expected = memdet.evaluate("wen2024", "mixture-2d", seeds=1, progress=False)
    pd.testing.assert_frame_equal(run.scores, expected.scores)


def test_items_of_ones_own_and_a_model():
    frame = memdet.load_sample_set("mixture-2d").to_pandas().head(40)
    sample_set = memdet.SampleSet.from_pandas(frame.drop(columns="model"))
    with pytest.raises(UserError, match="names no model: give one"):
        memdet.evaluate("wen2024", sample_set, progress=False)
    run = memdet.evaluate("wen2024", sample_set, model="mixture-2d", seeds=1, progress=False)
    assert len(run.items) == 40


def test_what_is_not_known_is_said():
    with pytest.raises(UserError, match="did you mean wen2024"):
        memdet.get_detector("wen2023")
    with pytest.raises(UserError, match="unknown sample set"):
        memdet.evaluate("wen2024", "no-such-set", progress=False)
    with pytest.raises(UserError, match="does not work here"):
        memdet.evaluate("wen2024", "mixture-2d", device="cuda:9", progress=False)


class Random(Mine):
    """With the name of a control."""

    info = memdet.DetectorInfo(name="random", title="no control", access="score", cost="2 F")


class Other(Mine):
    """With the name of another."""


class Bare(memdet.Detector):
    """Without info."""

    def score(self, probe):
        return probe.noise.flatten(1).norm(dim=1)


def frame():
    return pd.DataFrame({"condition": ["tight", "broad"] * 30, "label": [1, 0] * 30})


def two_of_one_name():
    return [memdet.SampleSet.from_pandas(frame(), model="mixture-2d") for _ in range(2)]


WRONG = {
    "a number for a detector": (lambda: {"detectors": 3}, "3 is no detector"),
    "nothing for a detector": (lambda: {"detectors": None}, "None is no detector"),
    "a class": (lambda: {"detectors": Mine}, r"Mine is a class.*Mine\(\)"),
    "no info": (lambda: {"detectors": Bare()}, "Bare has no info"),
    "the name of a control": (lambda: {"detectors": Random()}, "the name of another detector, random"),
    "two of one name": (lambda: {"detectors": [Mine(), Other()]}, "two detectors are named mine"),
    "no sample set": (lambda: {"sample_sets": []}, "no sample set is given"),
    "nothing for a sample set": (lambda: {"sample_sets": None}, "NoneType is no sample set"),
    "a frame for a sample set": (lambda: {"sample_sets": frame()}, "DataFrame is no sample set.*from_pandas"),
    "sample sets of one name": (lambda: {"sample_sets": two_of_one_name()}, "two sample sets have the name"),
    "no seeds": (lambda: {"seeds": 0}, "`seeds` is 0, not a whole number of at least 1"),
    "seeds as text": (lambda: {"seeds": "2"}, "`seeds` is '2'"),
    "half a seed": (lambda: {"seeds": 1.5}, "`seeds` is 1.5"),
    "yes for seeds": (lambda: {"seeds": True}, "`seeds` is True"),
    "empty batches": (lambda: {"batch_size": 0}, "`batch_size` is 0"),
    "a network": (lambda: {"model": torch.nn.Linear(2, 2)}, "Linear is no model.*from_callable"),
    "a device": (lambda: {"device": None}, "`device` 'None' does not work here"),
    "a number for a directory": (lambda: {"out": 3}, "`out` is 3, not a path"),
    "no directory": (lambda: {"out": ""}, "`out` is '', not a path"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_meant_is_refused(case):
    wrong, words = WRONG[case]
    given = {"detectors": "wen2024", "sample_sets": "mixture-2d"} | wrong()
    with pytest.raises(UserError, match=words):
        memdet.evaluate(**given, progress=False)


def test_one_detector_named_twice_is_one_and_any_collection_serves():
    run = memdet.evaluate((name for name in ("wen2024", "wen2024@steps=1")), {"mixture-2d"}, seeds=1, progress=False)
    assert [entry.label for entry in run.detectors if not entry.is_control] == ["wen2024"]


def test_the_home_directory_is_known(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = memdet.evaluate("wen2024", "mixture-2d", seeds=1, out="~/run", progress=False)
    run.to_html("~/page.html")
    assert {path.name for path in tmp_path.iterdir()} == {"run", "page.html"}


def test_a_probe_of_a_sample_set():
    model, sample_set = memdet.load_model("mixture-2d"), memdet.load_sample_set("mixture-2d")
    probe = memdet.Probe.of(model, sample_set, seed=3)
    scores = memdet.get_detector("wen2024").score(probe)
    assert scores.shape == (400,)
    expected = memdet.evaluate("wen2024", sample_set, seeds=4, progress=False).scores["wen2024"]
    np.testing.assert_allclose(expected.xs(3, level="seed"), scores.double(), rtol=1e-12)
    assert "mixture-2d" in repr(probe)


STATE = """
import logging, os
import torch, memdet, pooch

def state():
    import diffusers.utils.logging, transformers.utils.logging
    return (
        torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), torch.initial_seed(),
        torch.are_deterministic_algorithms_enabled(), torch.random.get_rng_state().sum().item(),
        tuple(sorted(os.environ.items())), logging.getLogger().level,
        pooch.get_logger().level, transformers.utils.logging.get_verbosity(), diffusers.utils.logging.get_verbosity(),
    )

before = state()
memdet.evaluate("wen2024", "tiny-sd-a-membership", seeds=1, progress=False).table
after = state()
print([a for a, b in zip(before, after) if a != b])
"""


@pytest.mark.slow
def test_a_library_call_changes_no_setting_of_the_process():
    """Nor the malloc of the process: glibc's switch is asked for by the command line and worker processes alone."""
    done = subprocess.run([sys.executable, "-c", STATE], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
    assert done.stderr == ""


def test_the_version_and_the_public_names():
    from importlib.metadata import version

    assert memdet.__version__ == version("memdet")
    assert all(getattr(memdet, name) is not None for name in memdet.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        memdet.nothing  # noqa: B018


def test_glibc_is_left_alone(monkeypatch):
    from memdet.running import memory

    monkeypatch.setattr(memory, "glibc", lambda name: pytest.fail(f"{name} was asked for"))
    memdet.evaluate("wen2024", "mixture-2d", seeds=1, progress=False)
    assert torch.get_default_dtype() == torch.float32
