"""The examples in docstrings and documents show what they say."""

import doctest
import importlib
import re

import pytest

from tests.helpers.source import ROOT, modules

EXAMPLES = [name for name, path in modules("memdet", "studies").items() if ">>> " in path.read_text()]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_hold(name, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried, "an example is in no docstring that doctest finds"
    assert not failed, capsys.readouterr().out


@pytest.mark.parametrize("file", ["README.md", *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/*.md"))])
def test_sessions_in_documents_hold(file, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    for session in re.findall(r"```pycon\n(.*?)```", (ROOT / file).read_text(), flags=re.DOTALL):
        runner.run(parser.get_doctest(session, {}, file, file, 0))
    assert runner.summarize().failed == 0, capsys.readouterr().out
