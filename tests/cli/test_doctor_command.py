"""``memdet doctor`` as its user meets it."""

import json

import pytest

from memdet import doctor


@pytest.mark.slow
def test_all_is_well_here(cli):
    code, out, _ = cli("doctor", "--offline", "--format", "json")
    found = {row["check"]: row["status"] for row in json.loads(out)}
    assert code == 0
    assert "problem" not in found.values()
    required = ["python", "packages", "cores", "torch", "device cpu", "forward AD on cpu", "detectors", "models"]
    assert set(found) >= {*required, "sample sets", "cache", "hub cache", "assets"}


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warning", 0), ("problem", 1)])
def test_exit_code_and_text(status, code, cli, monkeypatch):
    finding = doctor.Finding("thing", status, "found\nso", "" if status == "ok" else "do that")
    monkeypatch.setattr(doctor, "examine", lambda *, offline: iter([finding]))
    found, out, _ = cli("doctor")
    assert found == code
    assert f"{status:8} thing: found so" in out
    assert ("mend: do that" in out) == (status != "ok")
    assert f"{code} problem" in out
