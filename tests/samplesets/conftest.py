"""A small correct spec and its data, for tests to break."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from memdet.errors import UserError
from tests.helpers.stand_in_hub import hub, server

__all__ = ["hub", "server"]  # fixtures

SPEC: dict[str, Any] = {
    "schema_version": 1,
    "id": "small",
    "version": 3,
    "title": "A small set",
    "task": "prompt",
    "model": "some/model@abc",
    "source": {"kind": "local", "path": "items.csv"},
    "columns": {
        "id": "name",
        "prompt": "text",
        "label": {"column": "role", "positive": ["copied"], "negative": ["once"]},
    },
    "label_rule": "copied",
    "strata": "none",
    "clusters": "none",
    "protocol": {"scheduler": "ddim", "steps": 10, "guidance": 2, "seeds": 4, "noise": "shared"},
    "blind_controls": {"prompt-length": 0.5},
    "licence": "MIT",
    "citation": "none",
    "provenance": "made up",
    "known_problems": [],
    "assets": [{"name": "model", "address": "https://example.org/x", "status": "gone since 2024", "mirrors": []}],
}
CSV = """\
name,text,role,kind,family,part
b,None,copied,x,1,dev
007,two words,copied,x,1,test
c,rest,other,,,
a,one,once,y,2,test
"""


@pytest.fixture
def spec() -> dict[str, Any]:
    return copy.deepcopy(SPEC)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a spec (fields or text) with its data file and return the spec's path."""

    def _write(spec: dict[str, Any] | str, data: str | bytes | None = CSV, name: str = "items.csv") -> Path:
        if data is not None:
            (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
        path = tmp_path / "small.yaml"
        path.write_text(spec if isinstance(spec, str) else yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
        return path

    return _write


@pytest.fixture
def refused() -> Callable[..., str]:
    """Call something that must raise exactly ``UserError`` with one line that holds every given part."""

    def _refused(call: Callable[[], object], *parts: str) -> str:
        with pytest.raises(UserError) as caught:
            call()
        message = str(caught.value)
        assert type(caught.value) is UserError
        assert len(message.splitlines()) == 1
        for part in parts:
            assert part in message
        return message

    return _refused
