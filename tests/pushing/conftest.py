"""A stand-in hub, and somebody who may write to it."""

import huggingface_hub
import pytest

from tests.helpers.stand_in_hub import hub, server

__all__ = ["hub", "server"]  # fixtures


@pytest.fixture
def writer(hub, monkeypatch):
    """The hub, for one whose token may write to ``somebody``."""
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody")
    return hub


@pytest.fixture
def nobody(hub, monkeypatch, tmp_path):
    """The hub, for one who is not logged in."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    return hub
