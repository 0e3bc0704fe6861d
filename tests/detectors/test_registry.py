"""Finding, naming and configuring detectors."""

import subprocess
import sys
from pathlib import Path

import pytest

from memdet.detectors import Detector, DetectorInfo, detector_classes, make_detector, make_detectors
from memdet.errors import UserError
from memdet.samplesets import load_suite

PLUGIN = '''
from memdet.detectors import Detector, DetectorInfo


class Constant(Detector):
    """Always one value."""

    info = DetectorInfo(name="{name}", title="a constant", access="none", cost="none")
    value: float = 1.0

    def score(self, probe):
        import torch

        return torch.full((len(probe),), self.value)
'''


def plugin(tmp_path, text, name="plugin.py"):
    path = tmp_path / name
    path.write_text(text)
    return path


def refusal(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_built_in_says_what_it_is():
    classes = detector_classes()
    assert {"wen2024", "jeon2025", "curvature-gap", "random", "prompt-ngram"} <= set(classes)
    for name, cls in classes.items():
        info = cls.info
        assert info.name == name
        assert info.cost
        assert info.title
        assert cls.__doc__
        assert info.is_control == (info.access in {"none", "text"})
        assert not (info.supervised and not info.is_control)
        assert info.is_control or info.cost != "none"


@pytest.mark.parametrize("name", detector_classes())
def test_defaults_have_the_plain_name(name):
    assert make_detector(name, detector_classes()).label == name


@pytest.mark.parametrize(
    "label",
    [
        "wen2024@steps=50",
        "jeon2025@power=1",
        "jeon2025@power=1,t=500,backend=fd-one-sided",
        "curvature-gap@probes=4,t=1",
        "hessian-trace@probes=1",
        "jeon2024-eigenvalues@statistic=count-below,t=1,krylov=30,c=0.25",
    ],
)
def test_label_round_trip(label):
    detector = make_detector(label, detector_classes())
    assert detector.label == label
    again = make_detector(detector.label, detector_classes())
    assert {key: getattr(again, key) for key in again.option_types()} == {
        key: getattr(detector, key) for key in detector.option_types()
    }


def test_options_have_their_types():
    detector = make_detector("jeon2024-eigenvalues@c=2,krylov=7,t=3", detector_classes())
    assert (detector.c, detector.krylov, detector.t) == (2.0, 7, 3)
    assert isinstance(detector.c, float)
    assert make_detector("jeon2025@power=1", detector_classes()).power == 1
    assert type(detector).krylov == 10  # the class keeps its default


def test_an_option_at_its_default_is_not_in_the_label():
    assert make_detector("wen2024@steps=1", detector_classes()).label == "wen2024"


def test_each_variant_once_in_order():
    texts = ["random", "wen2024@steps=5", "wen2024", "wen2024@steps=1", "random"]
    made = make_detectors(texts, detector_classes())
    assert [detector.label for detector in made] == ["random", "wen2024@steps=5", "wen2024"]


def test_a_star_stands_for_every_detector_that_is_not_named():
    labels = [d.label for d in make_detectors(["wen2024@steps=5", "*"], detector_classes())]
    assert labels[0] == "wen2024@steps=5"
    others = {name for name, cls in detector_classes().items() if not cls.info.is_control} - {"wen2024"}
    assert len(labels) == len(set(labels)) == 1 + len(others)
    assert set(labels[1:]) == others


def test_two_suites_name_every_detector_that_is_no_control():
    texts = ("controlled", "dear")
    made = [d for name in texts for d in make_detectors(load_suite(name).detectors, detector_classes())]
    every = {name for name, cls in detector_classes().items() if not cls.info.is_control}
    assert {detector.info.name for detector in made} == every


def test_unknown_name_shows_the_nearest():
    assert "did you mean jeon2025" in refusal(make_detector, "joen2025", detector_classes())
    assert "`memdet list detectors`" in refusal(make_detector, "qqqqqqqq", detector_classes())
    assert "did you mean wen2024" in refusal(make_detector, "wen2023@steps=5", detector_classes())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("wen2024@stesp=5", ["wen2024 has no option 'stesp'", "steps"]),
        ("random@steps=5", ["random has no option 'steps'", "none"]),
        ("wen2024@info=5", ["no option 'info'"]),
        ("wen2024@steps=0", ["steps='0'", "greater than 0"]),
        ("wen2024@steps=many", ["steps='many'", "integer"]),
        ("wen2024@steps=1.5", ["steps='1.5'"]),
        ("jeon2025@power=3", ["power='3'", "1 or 2"]),
        ("curvature-gap@backend=vjp", ["backend='vjp'", "'jvp', 'fd' or 'fd-one-sided'"]),
        ("wen2024@steps", ["options are written wen2024@option=value"]),
        ("wen2024@=5", ["options are written wen2024@option=value"]),
        ("wen2024@steps=5,", ["options are written wen2024@option=value"]),
        ("wen2024@steps=5,steps=6", ["'wen2024@steps=5,steps=6': option 'steps' is given twice; keep one"]),
        ("jeon2025@t=1,power=1,t=1", ["option 't' is given twice"]),
        (None, ["a detector is named by text, 'name' or 'name@option=value', not NoneType"]),
        (3, ["a detector is named by text", "not int"]),
        (Path("wen2024"), ["a detector is named by text", "Path"]),
        (detector_classes()["wen2024"], ["a detector is named by text", "not ScoreDifferenceNorm"]),
    ],
)
def test_wrong_options(text, parts):
    message = refusal(make_detector, text, detector_classes())
    for part in parts:
        assert part in message


def test_plugin_file(tmp_path):
    path = plugin(tmp_path, PLUGIN.format(name="constant"))
    classes = detector_classes([path])
    assert set(classes) - set(detector_classes()) == {"constant"}
    detector = make_detector("constant@value=2.5", classes)
    assert detector.score([0, 0]).tolist() == [2.5, 2.5]
    assert detector.label == "constant@value=2.5"
    assert detector_classes([path, path])["constant"] is classes["constant"]  # named twice is no collision


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("import no_such_module_anywhere\n", ["cannot be loaded", "no_such_module_anywhere"]),
        ("def broken(:\n", ["cannot be loaded", "SyntaxError"]),
        ("from memdet.detectors import Detector\n", ["defines no subclass of memdet.Detector"]),
        (PLUGIN.format(name="x").replace("    info", "    other"), ["Constant", "has no info"]),
        (PLUGIN.format(name="x").replace("DetectorInfo(", "dict("), ["Constant", "has no info"]),
        (PLUGIN.format(name="x").replace('"none", cost', '"foo", cost'), ["'x': access is 'foo'; known: none, text"]),
        ("import sys\nsys.exit(3)\n", ["cannot be loaded", "SystemExit: 3"]),
        ("raise ValueError('one\\ntwo')\n", ["cannot be loaded", "ValueError: one two"]),
    ],
)
def test_plugin_that_cannot_be_used(tmp_path, text, parts):
    path = plugin(tmp_path, text)
    message = refusal(detector_classes, [path])
    for part in parts:
        assert part in message


def test_missing_plugin(tmp_path):
    assert "absent.py does not exist" in refusal(detector_classes, [tmp_path / "absent.py"])
    assert f"{tmp_path} is a directory; name a Python file in it" in refusal(detector_classes, [tmp_path])
    assert "is not a Python file" in refusal(detector_classes, [plugin(tmp_path, "", "plugin.txt")])


def test_collision_shows_both(tmp_path):
    message = refusal(detector_classes, [plugin(tmp_path, PLUGIN.format(name="wen2024"))])
    assert "two detectors are named 'wen2024'" in message
    assert "memdet.detectors.methods.wen2024_magnitude.ScoreDifferenceNorm" in message
    assert "Constant" in message
    first = plugin(tmp_path, PLUGIN.format(name="constant"), "first.py")
    second = plugin(tmp_path, PLUGIN.format(name="constant"), "second.py")
    message = refusal(detector_classes, [first, second])
    assert "first" in message
    assert "second" in message


class _Point:
    """An entry point of another package."""

    name, value = "theirs", "theirs:Detector"

    def __init__(self, target):
        self._target = target

    def load(self):
        if isinstance(self._target, BaseException):
            raise self._target
        return self._target


class Theirs(Detector):
    """A detector of another package."""

    info = DetectorInfo(name="theirs", title="theirs", access="none", cost="none")

    def score(self, probe):
        return probe.uniform()


def test_entry_points(monkeypatch):
    from memdet.detectors import registry

    def install(target):
        monkeypatch.setattr(registry, "entry_points", lambda group: [_Point(target)])

    install(Theirs)
    assert detector_classes()["theirs"] is Theirs
    install(ImportError("their dependency is missing"))
    assert "theirs = theirs:Detector cannot be loaded: their dependency" in refusal(detector_classes)
    install(SystemExit("gone"))
    assert "theirs = theirs:Detector cannot be loaded: gone" in refusal(detector_classes)
    install(dict)
    assert "is not a subclass of memdet.Detector" in refusal(detector_classes)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("access", "foo", "access is 'foo'; known: none, text, samples, score, gradient, attention"),
        ("access", None, "access is None; known: none, text"),
        ("task", "images", "task is 'images'; known: prompt, image, any"),
    ],
)
def test_what_a_detector_cannot_say_of_itself(field, value, words):
    said = {"name": "mine", "title": "mine", "access": "none", "cost": "none"}
    assert f"detector 'mine': {words}" in refusal(lambda: DetectorInfo(**said | {field: value}))


def test_a_detector_says_what_it_is():
    class Silent(Detector):
        """Says nothing."""

        def score(self, probe):
            return probe.uniform()

    for use in (lambda: Silent(steps=3), lambda: Silent().label):
        message = refusal(use)
        assert "Silent in" in message
        assert "has no info; write info = DetectorInfo(" in message


def test_listing_imports_no_torch():
    code = (
        "import sys; from memdet.detectors import detector_classes; n = len(detector_classes()); "
        "print(n, sorted({'torch', 'pandas', 'diffusers', 'transformers', 'sklearn'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f"{len(detector_classes())} []"


def test_what_a_detector_prints_as_says_which_it_is():
    told = repr(make_detector("wen2024@steps=5", detector_classes()))
    assert told.startswith("ScoreDifferenceNorm('wen2024@steps=5': norm of the score")
