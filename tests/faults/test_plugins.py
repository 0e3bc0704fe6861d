"""Detectors of somebody else that end the process, print, change what is shared, or look for labels."""

import contextlib
import sys

import pytest
import torch

from memdet.cli import main
from memdet.detectors import Detector, DetectorInfo, detector_classes, make_detector
from memdet.detectors.unpatched import replaced, shared_functions
from memdet.errors import UserError
from memdet.mitigation import MitigationInfo
from memdet.running import RunOptions, run, scoring
from memdet.samplesets import load_sample_set

PLUGIN = """
import gc, os, signal, sys
import torch
from memdet.detectors import Detector, DetectorInfo
from memdet.probing import Items

print("loading")

def made(name, act):
    def score(self, probe):
        act(probe)
        return torch.arange(len(probe), dtype=torch.float64)
    info = DetectorInfo(name=name, title=name, access="score", cost="0")
    return type(name.title().replace("-", ""), (Detector,), {"info": info, "score": score, "__module__": __name__})

def stop(probe):
    class Stop(BaseException):
        pass
    raise Stop("enough")

def replace(probe):
    torch.randn = torch.zeros

def hook(probe):
    model = probe.evaluator.model
    predict = type(model).predict
    model.predict = lambda *given: 2 * predict(model, *given)

def look(probe):
    items = [one for one in gc.get_objects() if isinstance(one, Items) and len(one.ids)]
    raise ValueError(f"labels: {sum(len(one.labels) for one in items)} of {len(items) > 0}")

Printing = made("printing", lambda probe: print("scoring"))
Leaving = made("leaving", lambda probe: sys.exit(0))
Stopping = made("stopping", stop)
Replacing = made("replacing", replace)
Hooking = made("hooking", hook)
Looking = made("looking", look)
Ending = made("ending", lambda probe: os._exit(0))
Crashing = made("crashing", lambda probe: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    return path


def scored(plugin, *names, out=None, **options):
    classes = detector_classes((plugin,))
    detectors = [make_detector(name, classes) for name in names]
    return run([load_sample_set("mixture-2d")], detectors, out, RunOptions(seeds=1, **options), progress=False)


def said(result, name):
    rows = result.score_rows()
    return set(rows[rows["detector"] == name]["status"]), result.manifest.messages.get("mixture-2d", {}).get(
        name, [""]
    )[0]


def test_what_a_plugin_prints_is_not_on_standard_output(plugin, capsys):
    assert said(scored(plugin, "printing"), "printing") == ({"ok"}, "")
    told = capsys.readouterr()
    assert told.out == ""
    assert "loading" in told.err
    assert "scoring" in told.err


def test_a_plugin_that_exits_is_an_error_of_its_rows(plugin):
    result = scored(plugin, "leaving", "stopping", "wen2024")
    assert said(result, "leaving") == ({"error"}, "SystemExit: 0")
    assert said(result, "stopping") == ({"error"}, "Stop: enough")
    assert said(result, "wen2024") == ({"ok"}, "")


def test_a_replaced_function_of_torch_is_noticed(plugin, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "randn", torch.randn)  # put back afterwards
    with pytest.raises(UserError, match=r"replacing changes torch\.randn, .*`isolate_plugins`"):
        scored(plugin, "replacing", "wen2024", out=tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.parquet"))


def test_a_changed_model_is_noticed(plugin):
    with pytest.raises(UserError, match="hooking changes the model"):
        scored(plugin, "wen2024", "hooking")


def test_items_have_labels_for_those_alone_who_learn_from_them(monkeypatch):
    real, seen = scoring.score_items, {}

    def note(model, items, detector, probe):
        seen[detector.label] = len(items.labels)
        return real(model, items, detector, probe)

    monkeypatch.setattr(scoring, "score_items", note)
    detectors = [make_detector(name, detector_classes()) for name in ("wen2024", "random")]
    run([load_sample_set("mixture-2d")], detectors, None, RunOptions(seeds=1), progress=False)
    assert seen == {"wen2024": 0, "random": 0}


def test_functions_that_torch_replaces_itself_are_no_fault():
    before = shared_functions()
    with contextlib.suppress(ImportError):
        import torch._dynamo  # noqa: F401  # replaces torch.manual_seed
    assert replaced(before) == []


@pytest.mark.slow
def test_in_a_process_of_its_own_a_plugin_ends_and_changes_nothing_else(plugin):
    names = ("ending", "crashing", "replacing", "hooking", "looking", "wen2024")
    result = scored(plugin, *names, isolate_plugins=True)
    assert said(result, "ending") == ({"error"}, "the detector's code ended its process, with status 0")
    status, message = said(result, "crashing")
    assert (status, message.partition(",")[0]) == (
        {"error"},
        "the process of the detector ended by SIGKILL: the system sends it where memory is used up",
    )
    assert said(result, "replacing") == said(result, "hooking") == ({"ok"}, "")
    assert said(result, "looking") == ({"error"}, "ValueError: labels: 0 of True")
    alone = scored(plugin, "wen2024").score_rows()
    rows = result.score_rows()
    assert rows[rows["detector"] == "wen2024"]["score"].tolist() == alone["score"].tolist()
    assert torch.randn is not torch.zeros


@pytest.mark.slow
def test_in_a_process_of_its_own_a_plugin_gives_the_same_scores(tmp_path):
    """One that asks the model, on several units, beside its twin in memdet."""
    path = tmp_path / "twin.py"
    path.write_text(
        "from memdet.detectors.methods.wen2024_magnitude import ScoreDifferenceNorm\n"
        "from dataclasses import replace\n"
        "class Twin(ScoreDifferenceNorm):\n"
        "    info = replace(ScoreDifferenceNorm.info, name='twin')\n"
    )
    rows = scored(path, "wen2024", "twin", isolate_plugins=True, batch_size=100).score_rows()
    first, second = (rows[rows["detector"] == name] for name in ("wen2024", "twin"))
    assert len(first) == 400
    for column in ("item_id", "score", "forwards"):
        assert first[column].tolist() == second[column].tolist()


@pytest.mark.parametrize("name", ["a@b", "a/b", "", "a b", "\x1b[2J", "é", ".hidden", "x" * 81, 3, None])
@pytest.mark.parametrize("kind", [DetectorInfo, MitigationInfo])
def test_a_name_that_no_command_line_can_have_is_refused(name, kind):
    with pytest.raises(UserError, match="has a name that cannot stand on a command line") as caught:
        kind(name=name, title="t", access="score", cost="F")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", 3),
        ("title", "a\nb"),
        ("cost", None),
        ("version", "1"),
        ("seeded", 1),
        ("tolerance", -1.0),
        ("tolerance", float("nan")),
    ],
)
def test_a_field_of_another_kind_is_refused(field, value):
    with pytest.raises(UserError, match=f"detector 'mine': {field} is "):
        DetectorInfo(**{"name": "mine", "title": "t", "access": "score", "cost": "F"} | {field: value})


def test_a_plugin_that_cannot_be_made_is_said_in_one_line():
    class Failing(Detector):
        info = DetectorInfo(name="failing", title="t", access="score", cost="F")

        def __init__(self, **options):
            sys.exit(0)

        def score(self, probe):
            raise NotImplementedError

    with pytest.raises(UserError, match="detector 'failing' cannot be made: SystemExit: 0"):
        make_detector("failing", {"failing": Failing})


@pytest.mark.slow
@pytest.mark.parametrize("act", ["os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_a_plugin_that_ends_the_process_is_not_found_good(tmp_path, capsys, act):
    """Wherever it does so: a check that came to no end has passed nothing."""
    path = tmp_path / "ending.py"
    path.write_text(PLUGIN + f"\n{act}\n")
    with pytest.raises(SystemExit) as left:
        main(["validate-detector", str(path)])
    assert left.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "ended" in told.err


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("torch.randn = lambda *given: torch.zeros(given)", "torch.randn"),
        ("torch.nn.functional.softmax = print", "torch.nn.functional.softmax"),
        ("from memdet.models import ScoreModel\nScoreModel.eps = lambda *given: None", "ScoreModel.eps"),
        (
            "import diffusers.models.attention_processor as a\na.Attention.forward = lambda *given: None",
            "Attention.forward",
        ),
    ],
)
def test_what_a_plugin_replaces_while_it_is_loaded_is_refused(tmp_path, monkeypatch, line, named):
    from diffusers.models.attention_processor import Attention

    from memdet.models import ScoreModel

    for cls, name in ((Attention, "forward"), (ScoreModel, "eps")):
        monkeypatch.setattr(cls, name, vars(cls)[name])
    file = tmp_path / "sly.py"
    file.write_text(f"{PLUGIN}\n{line}\n")
    before = shared_functions()
    with pytest.raises(UserError, match=rf"plugin .*sly.py replaces .*{named}.* when it is loaded"):
        detector_classes([file])
    assert replaced(before) == []
