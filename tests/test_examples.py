"""The examples in docstrings show what they say."""

import doctest
import importlib

import pytest

from tests.helpers.source import ROOT, modules

EXAMPLES = [name for name, path in modules("memdet", "studies").items() if ">>> " in path.read_text()]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_hold(name, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried, "an example is in no docstring that doctest finds"
    assert not failed, capsys.readouterr().out
