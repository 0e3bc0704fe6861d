"""A stand-in for the Hugging Face hub: its API for a few repositories, on this machine, with a log of what is asked.

It is read, and data sets are pushed to it, by the hub's own client.
"""

from __future__ import annotations

import base64
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
        private: Whether its owner alone may read it.
    """

    revisions: dict[str, Path]
    status: int = 200
    code: str = ""
    breaks: str | None = None
    private: bool = False

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
        writers: Owner to whom each token may write.
        pushed: Where pushed data sets lie; None where nobody may push.
        stored_apart: Ends of names that are uploaded by themselves before the commit names them, as large files are.
        refuses_commits: Whether every commit is answered 500.
        uploads: Paths of all requests that write, in their order.
    """

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    writers: dict[str, str] = field(default_factory=dict)
    pushed: Path | None = None
    stored_apart: tuple[str, ...] = ()
    refuses_commits: bool = False
    uploads: list[str] = field(default_factory=list)
    _apart: dict[str, bytes] = field(default_factory=dict)


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
    server.uploads.clear()
    server.writers, server.pushed = {"hf_of_somebody": "somebody"}, tmp_path / "pushed"
    server.stored_apart, server.refuses_commits = (), False
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

    def do_POST(self) -> None:
        self._take("POST")

    def do_PUT(self) -> None:
        self._take("PUT")

    def _take(self, method: str) -> None:
        hub: StandInHub = self.server.hub  # type: ignore[attr-defined]
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = unquote(self.path.partition("?")[0]).strip("/").split("/")
        if parts == ["api", "validate-yaml"]:
            return self._say({"errors": [], "warnings": []})
        hub.uploads.append("/".join(parts))
        if method == "PUT" and parts[0] == "lfs":
            hub._apart[parts[1]] = data
            return self._say({})
        owner = hub.writers.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if owner is None:
            return self._error(401, "")
        body = [json.loads(line) for line in data.splitlines()] if "commit" in parts else [json.loads(data)]
        if parts == ["api", "repos", "create"]:
            return self._create(hub, body[0], owner)
        name = "/".join(parts[1:4] if parts[0] == "api" else parts[:3]).removesuffix(".git")
        if name not in hub.repositories or name.split("/")[1] != owner:
            return self._error(403, "")
        if "preupload" in parts:
            modes = ((file["path"], file["path"].endswith(hub.stored_apart)) for file in body[0]["files"])
            files = [{"path": path, "uploadMode": "lfs" if apart else "regular"} for path, apart in modes]
            return self._say({"files": [file | {"shouldIgnore": False} for file in files]})
        if parts[-1] == "batch":
            links = ({"upload": {"href": f"{hub.address}/lfs/{one['oid']}"}} for one in body[0]["objects"])
            objects = [one | {"actions": link} for one, link in zip(body[0]["objects"], links, strict=True)]
            return self._say({"transfer": "basic", "objects": objects})
        return self._error(500, "") if hub.refuses_commits else self._commit(hub, name, body)

    def _create(self, hub: StandInHub, asked: dict[str, Any], owner: str) -> None:
        if asked["type"] != "dataset" or asked["organization"] != owner or hub.pushed is None:
            return self._error(403, "")
        name = f"datasets/{owner}/{asked['name']}"
        url = {"url": f"{hub.address}/{name}"}
        if name in hub.repositories:
            return self._say(url, 409)
        folder = hub.pushed / asked["name"]
        folder.mkdir(parents=True)
        (folder / ".gitattributes").write_text("*.parquet filter=lfs\n")
        is_private = asked.get("visibility") == "private" or asked.get("private") is True
        hub.repositories[name] = Repository({"main": folder}, private=is_private)
        return self._say(url)

    def _commit(self, hub: StandInHub, name: str, body: list[dict[str, Any]]) -> None:
        folder = hub.repositories[name].revisions["main"]
        for line in body:
            value = line["value"]
            if line["key"] == "file":
                (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                (folder / value["path"]).write_bytes(hub._apart[value["oid"]])
        self._say({"commitUrl": f"{hub.address}/{name}/commit/{commit_of(folder)}", "commitOid": commit_of(folder)})

    def _say(self, content: Any, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

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
        if parts[0] == "api" and rest[:1] == ["tree"]:
            files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            tree = [{"path": path.relative_to(folder).as_posix(), "size": path.stat().st_size} for path in files]
            return self._say([one | {"type": "file", "oid": "0"} for one in tree])
        if parts[0] == "api":
            return self._list(name, folder, repository)
        if repository.status != 200:
            return self._error(repository.status, repository.code)
        path = folder.joinpath(*rest[2:])
        if not path.is_file():
            return self._error(404, "EntryNotFound", folder)
        file = path.relative_to(folder).as_posix()
        if with_body:
            hub.fetched.append(file)
        return self._send(path.read_bytes(), folder, with_body=with_body, half=file == repository.breaks)

    def _list(self, name: str, folder: Path, repository: Repository) -> None:
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        name = name.removeprefix("datasets/")
        info = {"_id": "0", "id": name, "modelId": name, "sha": commit_of(folder), "private": repository.private}
        info |= {
            "tags": [],
            "gated": "manual" if repository.status == 403 else False,
            "siblings": [{"rfilename": file} for file in files],
        }
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
