"""What was public under another name is found there still."""

import importlib

import pytest


@pytest.mark.parametrize(
    ("former", "now", "name"),
    [
        ("memdet.reports", "memdet.tables", "FIELDS"),
        ("memdet.reports", "memdet.tables", "FORMATS"),
        ("memdet.reports", "memdet.tables", "report_rows"),
        ("memdet.reports.gate", "memdet.gate.check", "check_run"),
        ("memdet.reports.page", "memdet.page", "to_html"),
        ("memdet.reports.scan", "memdet.scan", "scan_result"),
        ("memdet.reports.scan", "memdet.scan", "to_look_at"),
        ("memdet.running", "memdet.results", "SCORES"),
    ],
)
def test_a_former_name_warns_and_is_the_new_one(former, now, name):
    importlib.import_module("memdet.reports")
    with pytest.warns(DeprecationWarning, match=f"{now}.{name}"):
        found = getattr(importlib.import_module(former), name)
    assert found is getattr(importlib.import_module(now), name)


def test_readers_of_a_run_give_what_they_gave():
    from memdet import running

    reference = "results/quick/reference"
    with pytest.warns(DeprecationWarning, match="memdet.load_run"):
        manifest, scores = running.read_manifest(reference), running.read_scores(reference)
    assert len(manifest["settings"]["detectors"]) == 14
    assert len(scores) == 38_918


def test_an_unknown_name_is_unknown():
    from memdet import reports, running

    for module in (reports, running):
        with pytest.raises(AttributeError, match="no attribute 'rows'"):
            _ = module.rows
