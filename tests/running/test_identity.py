"""What a score depends on decides which run it belongs to: a change of it is refused by name."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import sys
import textwrap
from functools import partial

import numpy as np
import pytest

import memdet
from memdet import Detector, DetectorInfo, SampleSet, ScoreModel, evaluate
from memdet.detectors import detector_classes, make_detector
from memdet.errors import UserError
from memdet.gate.check import check_run
from memdet.models.schedule import NoiseSchedule
from memdet.results import Run
from memdet.results.images import FILE as IMAGES
from memdet.running import RunOptions, run
from memdet.running.generations import make_images
from memdet.samplesets import load_sample_set
from memdet.user_code import code_of
from tests.helpers.runs import read_manifest, write_older

PLUGIN = """
from memdet import Detector, DetectorInfo
{start}

class Mine(Detector):
    '''A multiple of a random number.'''

    info = DetectorInfo(name="mine", title="mine", access="samples", cost="0 F")
    times: float = 1.0

    def score(self, probe):
        {body}
"""


def write(path, body="return 2 * probe.uniform()", start=""):
    path.write_text(PLUGIN.format(body=body, start=textwrap.dedent(start)))
    return path


def mine(path):
    return make_detector("mine", detector_classes([path]))


def small_set():
    return load_sample_set("mixture-2d")


def score(detector, out=None, sets=None, **options):
    found = run(sets or [small_set()], [detector], out, RunOptions(seeds=1, **options), progress=False).score_rows()
    return found["score"].to_numpy()


def refusal(call, *arguments, **keywords):
    with pytest.raises(UserError) as caught:
        call(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Code


@pytest.mark.slow
def test_a_plugin_that_was_edited_is_another_detector(tmp_path):
    path = write(tmp_path / "mine.py")
    first = score(mine(path), tmp_path / "run")
    assert np.array_equal(score(mine(path), tmp_path / "run"), first)  # resumed
    write(path, "return 3 * probe.uniform()")
    edited = mine(path)
    message = refusal(score, edited, tmp_path / "run")
    assert "other settings" in message
    assert "detector mine: its code changed (mine.py)" in message
    assert "choose a new directory" in message.lower()
    np.testing.assert_allclose(score(edited), 1.5 * first)  # in this very process too
    np.testing.assert_allclose(score(edited, tmp_path / "other"), 1.5 * first)
    write(path)
    assert np.array_equal(score(mine(path), tmp_path / "run"), first)  # as it was


def test_an_edit_of_the_same_length_within_the_second(tmp_path):
    """Python's own cache of compiled files would not notice."""
    path = write(tmp_path / "mine.py", "return 2 * probe.uniform()")
    first = score(mine(path))
    write(path, "return 4 * probe.uniform()")
    np.testing.assert_allclose(score(mine(path)), 2 * first)


def test_a_plugin_that_changes_after_it_was_loaded_does_not_score(tmp_path):
    path = write(tmp_path / "mine.py")
    loaded = mine(path)
    write(path, "return 3 * probe.uniform()")
    assert "detector mine: mine.py changed since this process read it" in refusal(score, loaded)


def test_the_same_plugin_elsewhere_is_the_same_detector(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "mine.py")
    assert np.array_equal(
        score(mine(tmp_path / "a" / "mine.py"), tmp_path / "run"),
        score(mine(tmp_path / "b" / "mine.py"), tmp_path / "run"),
    )


def forget_helping():
    for name in [name for name in sys.modules if name.partition(".")[0] == "helping"]:
        del sys.modules[name]


@pytest.fixture
def _no_helping():
    forget_helping()
    yield
    forget_helping()


@pytest.mark.usefixtures("_no_helping")
@pytest.mark.parametrize(
    ("start", "body"),
    [
        ("import helping", "return helping.part.FACTOR * probe.uniform()"),
        ("from helping import part", "return part.FACTOR * probe.uniform()"),
        ("from helping.part import *", "return FACTOR * probe.uniform()"),
        ("", "import helping.part; return helping.part.FACTOR * probe.uniform()"),
        ("import importlib", "return importlib.import_module('helping.part').FACTOR * probe.uniform()"),
    ],
)
def test_local_files_that_a_plugin_imports_belong_to_it(tmp_path, monkeypatch, start, body):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python would not see a second edit within a second
    package = tmp_path / "helping"
    package.mkdir()
    (package / "__init__.py").write_text("from . import part\n")
    (package / "part.py").write_text("FACTOR = 2\n")
    path = write(tmp_path / "mine.py", body, start)
    first = score(mine(path), tmp_path / "run")
    (package / "part.py").write_text("FACTOR = 3\n")
    assert "helping/part.py changed since this process read it" in refusal(score, mine(path), tmp_path / "run")
    forget_helping()
    importlib.invalidate_caches()
    path.write_text(path.read_text() + "\n")  # read anew, as by another process
    message = refusal(score, mine(path), tmp_path / "run")
    assert "its code changed (helping/part.py, mine.py)" in message
    np.testing.assert_allclose(score(mine(path)), 1.5 * first)


def made(factor):
    class Made(Detector):
        """A function made it."""

        info = DetectorInfo(name="made", title="made", access="samples", cost="0 F")

        def score(self, probe):
            return factor * probe.uniform()

    return Made()


class Given(Detector):
    """Holds something beside its options."""

    info = DetectorInfo(name="given", title="given", access="samples", cost="0 F")

    def __init__(self, table, **options):
        super().__init__(**options)
        self._table = table

    def score(self, probe):
        return float(self._table.sum()) * probe.uniform()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "named"), [(made, "class made.<locals>.Made"), (lambda x: Given(np.full(3, x)), "attributes")]
)
def test_what_a_detector_of_python_holds_belongs_to_it(tmp_path, kind, named):
    first = evaluate(kind(1), small_set(), seeds=1, out=tmp_path / "run", progress=False).score_rows()
    again = evaluate(kind(1), small_set(), seeds=1, out=tmp_path / "run", progress=False).score_rows()
    assert first.equals(again)
    message = refusal(evaluate, kind(2), small_set(), seeds=1, out=tmp_path / "run", progress=False)
    assert f"its code changed ({named})" in message


def test_code_of_memdet_is_told_by_its_version():
    assert code_of(memdet.get_detector("wen2024")) == {}
    assert set(code_of(Given(np.ones(2)))) >= {"test_identity.py", "attributes"}


def test_a_run_that_kept_no_checksum_of_a_plugin_is_read_and_not_continued(tmp_path):
    path = write(tmp_path / "mine.py")
    first = score(mine(path), tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    content = json.loads(file.read_text())
    assert content["settings"]["detectors"][0].pop("code").keys() == {"mine.py"}
    for of_set in content["settings"]["sample_sets"]:
        assert of_set.pop("items").keys() == {"test"}
    write_older(file, content)
    assert np.array_equal(Run.load(tmp_path / "run").score_rows()["score"].to_numpy(), first)
    assert "detector mine: of its code then no checksum was kept" in refusal(score, mine(path), tmp_path / "run")


def test_a_run_of_an_older_memdet_goes_on_where_nothing_differs(tmp_path):
    detector = memdet.get_detector("wen2024")
    first = score(detector, tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    content = json.loads(file.read_text())
    for of_set in content["settings"]["sample_sets"]:
        del of_set["items"]
    write_older(file, content)
    assert np.array_equal(score(detector, tmp_path / "run"), first)


def test_the_gate_says_that_code_differs(tmp_path):
    path = write(tmp_path / "mine.py")
    score(mine(path), tmp_path / "before")
    write(path, "return 0 + 2 * probe.uniform()")
    score(mine(path), tmp_path / "after")
    notes = check_run(tmp_path / "after", tmp_path / "before").notes
    assert any("code of mine (mine.py)" in note for note in notes)
    assert not any("code of" in note for note in check_run(tmp_path / "after", tmp_path / "after").notes)


# Items


def frame():
    of_set = load_sample_set("tiny-sd-a-verbatim").to_pandas()
    return of_set.groupby(["label", "split"]).head(4).reset_index(drop=True).drop(columns="model")


@pytest.mark.parametrize(
    ("split", "column"), [("dev", "prompt"), ("test", "prompt"), ("dev", "label"), ("test", "cluster")]
)
def test_items_of_either_split_belong_to_a_run(tmp_path, split, column):
    def result(table):
        of_set = SampleSet.from_pandas(table, model="mixture-2d", id="mine")
        return evaluate("prompt-length", of_set, out=tmp_path / "run", progress=False)

    table = frame()
    result(table)
    result(table)
    row = table.index[(table["split"] == split) & (table["label"] == 0)][0]
    table.loc[row, column] = {"prompt": "another one", "label": 1, "cluster": "another one"}[column]
    assert f"sample set mine: its {split} items changed" in refusal(result, table)


def test_items_that_are_changed_in_place_are_noticed(tmp_path):
    of_set = SampleSet.from_pandas(frame(), model="mixture-2d", id="mine")
    evaluate("prompt-length", of_set, out=tmp_path / "run", progress=False)
    of_set.items.loc[of_set.items.index[0], "condition"] = "another prompt, far longer than before"
    again = partial(evaluate, "prompt-length", of_set, out=tmp_path / "run", progress=False)
    assert re.search("sample set mine: its (dev|test) items changed", refusal(again))


@pytest.mark.slow
def test_pixels_of_an_image_set_belong_to_a_run(tmp_path):
    of_set = load_sample_set("fashion-pixel-generated")
    few = of_set.items.groupby(["label", "split"]).head(2).reset_index(drop=True)
    few = dataclasses.replace(of_set, items=few)
    changed = few.items.copy()
    place = changed.index[changed["split"] == "dev"][0]
    image = changed.loc[place, "image"].copy()
    image[0, 0, 0] += 0.5
    changed.at[place, "image"] = image
    detector = memdet.get_detector("image-norm")
    score(detector, tmp_path / "run", [few])
    score(detector, tmp_path / "run", [dataclasses.replace(of_set, items=few.items.copy())])
    message = refusal(score, detector, tmp_path / "run", [dataclasses.replace(of_set, items=changed)])
    assert "its dev items changed" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 7}, "sample set mine: steps 50, now 7"),
        ({"guidance": 2.0}, "sample set mine: guidance 7.5, now 2.0"),
        ({"noise": "per-item"}, "sample set mine: noise shared, now per-item"),
    ],
)
def test_the_protocol_is_named(tmp_path, change, words):
    def result(**protocol):
        of_set = SampleSet.from_pandas(frame(), model="mixture-2d", id="mine", **protocol)
        return evaluate("prompt-length", of_set, out=tmp_path / "run", progress=False)

    result()
    assert words in refusal(result, **change)


# Models


def edit(directory, name):
    path = directory / name
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b" ")


FILES = [
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "text_encoder/config.json",
    "vae/config.json",
    "unet/config.json",
    "model_index.json",
]


@pytest.mark.slow
def test_every_file_of_a_model_belongs_to_a_run(tmp_path, copy_of_pipeline):
    directory = copy_of_pipeline()
    of_set = SampleSet.from_pandas(frame(), model=str(directory), id="mine", steps=2)

    def result():
        return evaluate("prompt-length", of_set, out=tmp_path / "run", progress=False)

    result()
    stored = read_manifest(tmp_path / "run")["settings"]["sample_sets"][0]["model_files"]
    inside = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    assert set(stored[str(directory)]) == inside
    result()
    for name in FILES:
        kept = (directory / name).read_bytes() if (directory / name).exists() else None
        edit(directory, name)
        assert f"its files changed ({name})" in refusal(result), name
        (directory / name).write_bytes(kept) if kept is not None else (directory / name).unlink()
    result()


def test_files_that_change_under_a_loaded_model_are_refused(copy_of_pipeline):
    directory = copy_of_pipeline()
    model = memdet.load_model(directory)
    before = model.fingerprint()
    assert memdet.load_model(directory).fingerprint() == before
    edit(directory, "vae/config.json")
    for ask in (model.fingerprint, model.files):
        assert "vae/config.json changed since the model was loaded" in refusal(ask)
    assert memdet.load_model(directory).fingerprint() != before


@pytest.mark.slow
def test_pictures_are_those_of_the_model_that_scored(tmp_path, copy_of_pipeline):
    directory = copy_of_pipeline()
    of_set = SampleSet.from_pandas(frame(), model=str(directory), id="mine", steps=1, guidance=1.0)
    found = evaluate("prompt-length", of_set, out=tmp_path / "run", progress=False)
    edit(directory, "vae/config.json")
    message = refusal(make_images, tmp_path / "run", found.sources.values(), 1, progress=False)
    assert "changed since the run (vae/config.json)" in message
    assert not (tmp_path / "run" / IMAGES).exists()


def test_a_network_of_ones_own_is_named(tmp_path):
    schedule = NoiseSchedule.from_betas(np.linspace(1e-4, 0.02, 100))

    def result(factor):
        model = ScoreModel.from_callable(lambda x, t: factor * x, shape=(2,), schedule=schedule, name="net")
        of_set = SampleSet.from_pandas(frame(), id="mine", steps=2)
        return evaluate("prompt-length", of_set, model=model, out=tmp_path / "run", progress=False)

    result(1.0)
    result(1.0)
    assert "model net: it is another one" in refusal(result, 2.0)
