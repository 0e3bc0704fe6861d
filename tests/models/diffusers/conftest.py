"""A stand-in hub in place of the real one, for the tests of this folder."""

from __future__ import annotations

import time

import huggingface_hub
import pytest

from tests.helpers.stand_in_hub import stand_in_hub


@pytest.fixture(scope="module")
def server():
    with stand_in_hub() as hub:
        yield hub


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """The stand-in for the real hub, with an empty cache."""
    server.repositories.clear()
    server.fetched.clear()
    address = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    for name, value in {
        "ENDPOINT": server.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": address,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits before it asks again
    return server
