"""What a run says of its models and prompts: cut prompts and wrong prediction types, once, and in the manifest."""

import json
import shutil
import sys

import pytest
import torch

import memdet
from memdet.detectors import Detector, DetectorInfo, detector_classes, make_detectors
from memdet.errors import UserError
from memdet.io_utils import weights_root
from memdet.models import load_model
from memdet.results import Manifest
from memdet.running import RunOptions, run
from memdet.running.scoring import score_items
from memdet.samplesets import load_samples_file
from memdet.tables import FORMATS, rows_of
from tests.helpers.problems import make_items, make_probe


@pytest.fixture
def samples(tmp_path):
    def write(prompts):
        path = tmp_path / "samples.jsonl"
        lines = [{"prompt": text, "memorized": n % 2, "id": f"p{n}"} for n, text in enumerate(prompts)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


@pytest.fixture
def relabelled(tmp_path):
    """Gives a planted model whose scheduler says that it predicts something else."""

    def make(name, said):
        directory = shutil.copytree(weights_root() / name, tmp_path / name)
        path = directory / "scheduler" / "scheduler_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": said}))
        return directory

    return make


def score(sample_set, out=None, **options):
    detectors = make_detectors(["wen2024@steps=1", "random"], detector_classes())
    return run([sample_set], detectors, out, RunOptions(seeds=2, batch_size=2, **options), progress=False)


LONG = "coat " * 200


@pytest.mark.slow
@pytest.mark.parametrize("many", [1, 7])
def test_cut_prompts_are_counted_and_named_once(random_pipeline, samples, tmp_path, capsys, many):
    path = samples([f"{LONG} {n}" for n in range(many)] + [f"plain coat {n}" for n in range(3)])
    sample_set = load_samples_file(path, model=str(random_pipeline))
    found = score(sample_set, tmp_path / "run")
    names = ", ".join(f"p{n}" for n in range(min(many, 5))) + (", ..." if many > 5 else "")
    verb = "is" if many == 1 else "are"
    text = f"{many} of {many + 3} prompts {verb} longer than random-sd reads: only the beginning counts ({names})"
    assert found.manifest.messages[sample_set.id]["model"] == [text]
    assert capsys.readouterr().err.count(text) == 1
    assert Manifest.read(tmp_path / "run").messages[sample_set.id]["model"] == [text]
    score(sample_set, tmp_path / "run")  # finished, and said again to who asks again
    assert capsys.readouterr().err.count(text) == 1


@pytest.mark.slow
def test_prompts_that_are_read_whole_are_not_spoken_of(random_pipeline, samples, capsys):
    sample_set = load_samples_file(samples(["plain coat", "soft dress"]), model=str(random_pipeline))
    assert "model" not in score(sample_set).manifest.messages.get(sample_set.id, {})
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_evaluate_says_it_too(random_pipeline, samples, capsys):
    sample_set = load_samples_file(samples([LONG, "soft dress"]), model=str(random_pipeline))
    found = memdet.evaluate("wen2024@steps=1", sample_set, seeds=1, device="cpu", progress=False)
    assert "(p0)" in found.manifest.messages[sample_set.id]["model"][0]
    assert "1 of 2 prompts is longer" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("said", "stated"), [("v_prediction", "v"), ("sample", "x0")])
def test_a_wrong_prediction_type_is_said_once_a_model(relabelled, samples, capsys, said, stated):
    directory = relabelled("tiny-sd-a", said)
    sample_set = load_samples_file(samples(["plain coat", "soft dress"]), model=str(directory))
    (text,) = score(sample_set).manifest.messages[sample_set.id]["model"]
    assert f"read as predicting {stated}, and its output looks like eps" in text
    assert capsys.readouterr().err.count(text) == 1


@pytest.mark.slow
def test_the_question_is_nobody_s_cost_and_moves_no_score(samples, monkeypatch):
    sample_set = load_samples_file(samples(["plain coat", "soft dress"]), model="tiny-sd-a")
    asked = score(sample_set)
    monkeypatch.setattr("memdet.running.remarks.doubt_of", lambda *_: None)
    left = score(sample_set)
    columns = ["item_id", "detector", "seed", "score", "forwards", "jvps", "vjps"]
    assert asked.score_rows()[columns].equals(left.score_rows()[columns])


def edited_tokenizer(directory, length):
    path = directory / "tokenizer" / "tokenizer_config.json"
    content = {key: value for key, value in json.loads(path.read_text()).items() if key != "model_max_length"}
    path.write_text(json.dumps(content | ({} if length is None else {"model_max_length": length})))
    return directory


@pytest.mark.parametrize("length", [None, 10**30])
def test_a_tokenizer_without_a_length_takes_the_text_encoder_s(random_model, copy_of_pipeline, length):
    directory = edited_tokenizer(copy_of_pipeline(), length)
    positions = json.loads((directory / "text_encoder" / "config.json").read_text())["max_position_embeddings"]
    model = load_model(directory)
    assert model.embed(["plain coat", LONG]).tensor.shape[1] == positions
    room = positions - 2  # a start and an end token
    assert model.are_cut(["coat " * room, "coat " * (room + 1)]) == [False, True]
    assert model.end_positions([LONG]).tolist() == [positions - 1]


def test_no_length_at_all_is_refused_by_name(copy_of_pipeline, monkeypatch):
    directory = edited_tokenizer(copy_of_pipeline(), None)
    from memdet.models.diffusers import stable_diffusion

    load = stable_diffusion.load_network

    def without_positions(directory, component, *rest):
        network = load(directory, component, *rest)
        if component == "text_encoder":
            network.config.max_position_embeddings = 0
        return network

    monkeypatch.setattr(stable_diffusion, "load_network", without_positions)
    with pytest.raises(UserError, match="model_max_length nor the text encoder's max_position_embeddings"):
        load_model(directory)


class Telling(Detector):
    """Scores, and says something beside it, twice."""

    info = DetectorInfo(name="telling", title="", access="none", cost="none")

    def score(self, probe):
        probe.note("reads every other item")
        probe.note("reads every other item")
        return torch.arange(float(len(probe)))


def test_what_a_detector_says_beside_its_scores_is_kept_and_shown():
    found = memdet.evaluate([Telling()], "fashion-multi-1", seeds=1, device="cpu", progress=False)
    assert found.manifest.messages["fashion-multi-1"]["telling"] == ["reads every other item"]
    assert {row["status"] for row in found.table if row["detector"] == "telling"} == {"ok"}
    assert "telling: ok: reads every other item" in FORMATS["table"](rows_of(found))
    assert all("every other" not in row["message"] for row in found.table if row["detector"] != "telling")


def test_a_control_that_learns_from_some_prompts_says_from_how_many(monkeypatch):
    control = detector_classes()["prompt-ngram"]
    monkeypatch.setattr(sys.modules[control.__module__], "LARGEST_FIT", 30)
    texts = [f"{'coat' if n % 2 else 'dress'} {n}" for n in range(60)]
    items = make_items(texts, has_prompts=True)
    scored = score_items(None, items, control(), make_probe(None, items))
    assert (set(scored.statuses), scored.message) == ({"ok"}, "a fold learns from 30 of 60 prompts")
