"""The contract that detectors keep, and what happens to one that does not."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from memdet.cli import group
from memdet.detectors import detector_classes, make_detector
from memdet.detectors.cost import declared_cost
from memdet.errors import UserError
from memdet.testing.check_detector import validate

PLUGIN = '''
import torch
from memdet import Detector, DetectorInfo


class Mine(Detector):
    """A detector of a third party."""

    info = DetectorInfo(name="mine", title="mine", access="score", cost="{cost}")

    def score(self, probe):
        norm = probe.difference(probe.noise, probe.timesteps[0]).double().flatten(1).norm(dim=1)
        return {score}
'''


@pytest.mark.slow
@pytest.mark.parametrize("name", detector_classes())
def test_every_built_in_keeps_the_contract(name):
    findings = validate(make_detector(name, detector_classes()))
    assert [f"{f.check}: {f.detail}" for f in findings if f.status == "failed"] == []
    assert len(findings) == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("score", "cost", "broken"),
    [
        ("norm", "2 F", None),
        ("norm + torch.rand(len(norm))", "2 F", "determinism"),
        ("norm - norm.mean()", "2 F", "batch invariance"),
        ("norm.float()", "2 F", "shape and float64"),
        ("norm[:1]", "2 F", "shape and float64"),
        ("norm / 0", "2 F", "shape and float64"),
        ("norm + torch.tensor(probe.labels)", "2 F", "no labels, no ids"),
        ("norm + probe.uniform()", "2 F", "no labels, no ids"),
        ("norm", "2 F + 1 JVP", "cost"),
        ("norm", "some F", "cost"),
        ("-norm", "2 F", "direction on oracle-16k"),
    ],
)
def test_what_a_broken_detector_is_told(tmp_path, score, cost, broken):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(score=score, cost=cost))
    done = CliRunner().invoke(group, ["validate-detector", str(path)], standalone_mode=False)
    assert done.exception is None
    failed = re.findall(r"failed  (.*?):", done.output)
    assert done.return_value == (1 if broken else 0)
    assert broken in failed if broken else failed == []


def test_an_unknown_name_and_a_file_without_detectors(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    for argument, word in [("wen2025", "unknown detector"), (str(path), "defines no"), ("nowhere.py", "not exist")]:
        done = CliRunner().invoke(group, ["validate-detector", argument], standalone_mode=False)
        assert isinstance(done.exception, UserError)
        assert word in str(done.exception)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("none", (0, 0, 0)),
        ("2 F", (2, 0, 0)),
        ("2 k F (1 F less with shared noise)", (6, 0, 0)),
        ("2 T F + k JVP", (20, 3, 0)),
        ("2 (k + 1) F + VJP", (8, 0, 1)),
        ("F + (T - k) 2 JVP", (1, 14, 0)),
    ],
)
def test_cost_formulas(formula, expected):
    assert tuple(declared_cost(formula, {"k": 3, "T": 10}).values()) == expected


@pytest.mark.parametrize("formula", ["", "two", "2 F and more", "n F", "k() F", "2 ** 3 F", "__import__('os') F"])
def test_what_is_no_cost_formula(formula):
    with pytest.raises(UserError, match="cost"):
        declared_cost(formula, {"k": 3})
