"""A stand-in for the Hugging Face hub: its API for a few repositories, on this machine, with a log of what is asked."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from huggingface_hub import constants


@dataclass
class Repository:
    """Folders by revision; ``main`` is asked for where nobody says one.

    Attributes:
        revisions: Folder of each branch or tag.
        status: What every request for a file is answered; 200 serves it.
        code: The hub's word for the error, in ``X-Error-Code``.
        breaks: A name of which the connection ends in the middle.
    """

    revisions: dict[str, Path]
    status: int = 200
    code: str = ""
    breaks: str | None = None

    def folder(self, revision: str) -> Path | None:
        for name, folder in self.revisions.items():
            if revision in (name, commit_of(folder)):
                return folder
        return None


@dataclass
class StandInHub:
    """The hub.

    Attributes:
        address: For ``HF_ENDPOINT``.
        repositories: By ``org/name``; of a data set by ``datasets/org/name``.
        fetched: Names of the files whose content was asked for, in the order of the requests.
    """

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)


def commit_of(folder: Path) -> str:
    """Forty digits that stand for a commit."""
    return hashlib.sha1(str(folder).encode()).hexdigest()


@contextmanager
def stand_in_hub() -> Iterator[StandInHub]:
    """A hub that answers until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    hub = StandInHub(f"http://127.0.0.1:{server.server_port}")
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


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
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits before it asks again
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub: StandInHub = self.server.hub  # type: ignore[attr-defined]
        parts = unquote(self.path.partition("?")[0]).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name, rest = "/".join(parts[2:4]), parts[4:]
        elif parts[:2] == ["api", "datasets"]:
            name, rest = "/".join(parts[1:4]), parts[4:]
        else:
            length = 3 if parts[0] == "datasets" else 2
            name, rest = "/".join(parts[:length]), parts[length:]
        repository = hub.repositories.get(name)
        if repository is None:
            return self._error(404, "RepoNotFound")
        revision = rest[1] if len(rest) > 1 else "main"
        folder = repository.folder(revision)
        if folder is None:
            return self._error(404, "RevisionNotFound")
        if parts[0] == "api":
            return self._list(name, folder, gated=repository.status == 403)
        if repository.status != 200:
            return self._error(repository.status, repository.code)
        path = folder.joinpath(*rest[2:])
        if not path.is_file():
            return self._error(404, "EntryNotFound", folder)
        file = path.relative_to(folder).as_posix()
        if with_body:
            hub.fetched.append(file)
        return self._send(path.read_bytes(), folder, with_body=with_body, half=file == repository.breaks)

    def _list(self, name: str, folder: Path, *, gated: bool) -> None:
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        name = name.removeprefix("datasets/")
        info = {"_id": "0", "id": name, "modelId": name, "sha": commit_of(folder), "private": False, "tags": []}
        info |= {"gated": "manual" if gated else False, "siblings": [{"rfilename": file} for file in files]}
        self._send(json.dumps(info).encode(), folder, with_body=True)

    def _send(self, data: bytes, folder: Path, *, with_body: bool, half: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit_of(folder))
        self.end_headers()
        if with_body:
            self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self.close_connection = True

    def _error(self, status: int, code: str, folder: Path | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if code:
            self.send_header("X-Error-Code", code)
        if folder is not None:
            self.send_header("X-Repo-Commit", commit_of(folder))
        self.end_headers()
