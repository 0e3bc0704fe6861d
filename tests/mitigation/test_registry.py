"""How mitigations are found and named, and what they say of their papers."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from memdet.detectors.cost import declared_cost, named_options
from memdet.errors import UserError
from memdet.mitigation import (
    Mitigation,
    MitigationInfo,
    make_mitigation,
    make_mitigations,
    mitigation_classes,
    registry,
)
from memdet.samplesets import load_suite
from memdet.samplesets.spec import SuiteSpec

CLASSES = mitigation_classes()
METHODS = {name: cls.info for name, cls in CLASSES.items() if not cls.info.is_control}
BIBLIOGRAPHY = Path(__file__).parents[2] / "docs" / "bibliography.bib"
PLUGIN = '''
from memdet.mitigation import Mitigation, MitigationInfo

class Mine(Mitigation):
    """Mine."""
    info = MitigationInfo(name="mine", title="mine", access="samples", cost="2 T F")
    twice: bool = False

    def sample(self, sampler):
        return sampler.follow(sampler.start())
'''


@pytest.mark.parametrize("name", CLASSES)
def test_a_file_a_method_named_after_it(name):
    cls = CLASSES[name]
    assert cls.__module__.rpartition(".")[2] == name.replace("-", "_")
    assert cls.__doc__
    for option in cls.option_types():
        assert re.search(rf"^ +(\w+, )*{option}(, \w+)*: ", cls.__doc__, re.M), option


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_is_to_its_paper(name):
    info = METHODS[name]
    assert info.fidelity in {"faithful", "deviates"}
    assert info.paper in re.findall(r"^@\w+\{([^,]+),", BIBLIOGRAPHY.read_text(), re.M)
    assert info.year in {2023, 2024, 2025, 2026}


@pytest.mark.parametrize("name", CLASSES)
def test_declared_costs_can_be_read(name):
    cls = CLASSES[name]
    options = named_options(cls.info.cost) - {"T"}
    assert options <= cls.option_types().keys() | {"F", "VJP"}
    numbers = {option: getattr(cls, option) for option in options if option in cls.option_types()}
    cost = declared_cost(cls.info.cost, numbers | {"T": 10})
    assert cost["F"] >= 20
    assert (cost["VJP"] > 0) == (cls.info.access == "gradient")


def test_a_plugin_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    classes = mitigation_classes([path])
    one = make_mitigation("mine@twice=true", classes)
    assert (one.label, pickle.loads(pickle.dumps(one)).label) == ("mine@twice=True", "mine@twice=True")
    path.write_text(PLUGIN.replace('name="mine"', 'name="none"'))
    with pytest.raises(UserError, match="two mitigations are named 'none'"):
        mitigation_classes([path])
    path.write_text("x = 1\n")
    with pytest.raises(UserError, match=r"defines no subclass of memdet\.mitigation\.Mitigation"):
        mitigation_classes([path])


class _Point:
    name, value = "theirs", "theirs:Mitigation"

    @staticmethod
    def load():
        return dict


def test_an_entry_point_that_is_none(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: [_Point()])
    with pytest.raises(UserError, match="theirs = theirs:Mitigation is not a subclass of"):
        mitigation_classes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sail", "unknown mitigation 'sail': did you mean sail2025"),
        ("qqqq", "unknown mitigation 'qqqq': `memdet list mitigations` shows the names"),
        ("sail2025@of", "options are written sail2025@option=value"),
        ("sail2025@off=code", "mitigation sail2025 has no option 'off'; its options: of, rate"),
        ("sail2025@of=both", "mitigation sail2025: of='both'"),
        ("lower-guidance@factor=2", "less than or equal to 1"),
        (7, "a mitigation is named by text"),
    ],
)
def test_wrong_names_and_options(text, words):
    with pytest.raises(UserError) as told:
        make_mitigation(text, CLASSES)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"access": "foo"}, "mitigation 'mine': access is 'foo'; known: none, text"),
        ({"fidelity": "close"}, "fidelity is 'close'"),
        ({"fidelity": "deviates"}, "say how and why"),
    ],
)
def test_what_is_said_must_be_known(said, words):
    with pytest.raises(UserError) as told:
        MitigationInfo(**{"name": "mine", "title": "x", "access": "score", "cost": "2 T F"} | said)
    assert words in str(told.value)


def test_a_class_of_which_nothing_is_said():
    class Mine(Mitigation):
        """Mine."""

        def sample(self, sampler):
            raise NotImplementedError

    with pytest.raises(UserError, match="has no info; write info = MitigationInfo"):
        _ = Mine().label


def test_the_suite_holds_every_method():
    suite = load_suite("mitigation")
    labels = [one.label for one in make_mitigations(suite.mitigations, CLASSES)]
    assert {label.partition("@")[0] for label in labels} == set(CLASSES)
    assert len(labels) == len(set(labels)) == len(CLASSES) + 6


@pytest.mark.parametrize("lists", [{}, {"detectors": ["wen2024"], "mitigations": ["none"]}], ids=["neither", "both"])
def test_a_suite_is_of_one_kind(lists):
    with pytest.raises(ValueError, match="detectors or mitigations, one of the two"):
        SuiteSpec(name="mine", title="x", sample_sets=["a"], **lists)
