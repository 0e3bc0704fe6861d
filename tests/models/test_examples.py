"""The examples in docstrings of models and curvature give what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import memdet.curvature
import memdet.models

MODULES = [
    module.name
    for package in (memdet.models, memdet.curvature)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = [test.name for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert "memdet.models.base.ScoreModel.from_callable" in found
    assert len(found) >= 8
