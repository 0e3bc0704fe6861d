"""Remote sources against a server on this machine; nothing leaves it."""

import hashlib
import logging
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pooch
import pytest

from memdet.samplesets import Fetcher, load_sample_set

DATA = "name,text,role\na,x,copied\nb,y,once\n"
SHA = hashlib.sha256(DATA.encode()).hexdigest()


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    served = tmp_path / "served"
    served.mkdir()
    (served / "items.csv").write_text(DATA, newline="\n")
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/items.csv"
        server.shutdown()
        thread.join()


def test_an_address_is_fetched_once(address: str, spec: dict[str, Any], write: Callable[..., Path], tmp_path: Path):
    spec["source"] = {"kind": "url", "url": address, "sha256": SHA}
    assert load_sample_set(write(spec, None)).items["item_id"].tolist() == ["a", "b"]
    (tmp_path / "served" / "items.csv").unlink()
    assert load_sample_set(write(spec, None)).items["item_id"].tolist() == ["a", "b"]
    assert [path.name for path in (tmp_path / "cache" / "memdet" / "samplesets").iterdir()] == [f"{SHA}.csv"]


def test_a_changed_file_at_an_address_is_refused(
    address: str, spec: dict[str, Any], write: Callable[..., Path], refused: Callable[..., str]
):
    spec["source"] = {"kind": "url", "url": address, "sha256": "0" * 64}
    path = write(spec, None)
    refused(
        lambda: load_sample_set(path),
        address,
        f"{path} expects sha256 {'0' * 64}, found {SHA}",
        "look for a mirror",
    )


def test_an_address_that_does_not_answer_is_named(
    address: str, spec: dict[str, Any], write: Callable[..., Path], refused: Callable[..., str]
):
    for url in (address.replace("items", "none"), "http://127.0.0.1:1/items.csv"):
        spec["source"] = {"kind": "url", "url": url, "sha256": SHA}
        path = write(spec, None)
        refused(lambda path=path: load_sample_set(path), url, str(path), "cannot be fetched", "check the network")


HUB = {"kind": "hub", "repo": "org/name", "revision": "abc", "file": "sub/items.csv", "sha256": SHA}


def test_a_hub_file_is_asked_for_by_revision(
    spec: dict[str, Any], write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    asked: list[Any] = []

    def download(*args: Any, **kwargs: Any) -> str:
        asked.append((args, kwargs))
        return str(tmp_path / "items.csv")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    spec["source"] = HUB
    assert len(load_sample_set(write(spec, DATA)).items) == 2
    assert asked == [
        (("org/name", "sub/items.csv"), {"revision": "abc", "repo_type": "dataset", "local_files_only": False})
    ]


def test_a_hub_that_does_not_answer_is_named(
    spec: dict[str, Any], write: Callable[..., Path], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
):
    def download(*args: Any, **kwargs: Any) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("offline\nand more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    spec["source"] = HUB
    refused(
        lambda: load_sample_set(write(spec, None)),
        "https://huggingface.co/datasets/org/name/resolve/abc/sub/items.csv",
        "small.yaml",
        "cannot be fetched: offline; check the network",
    )


CACHED = Path("cache", "memdet", "samplesets")


def test_a_mirror_is_asked_where_the_address_is_dead_or_damaged(
    address: str, spec: dict[str, Any], write: Callable[..., Path], tmp_path: Path
):
    (tmp_path / "served" / "damaged.csv").write_text("name,text,role\n")
    for dead in ("http://127.0.0.1:1/items.csv", address.replace("items", "none"), address.replace("items", "damaged")):
        spec["source"] = {"kind": "url", "url": dead, "sha256": SHA, "mirrors": [address]}
        assert load_sample_set(write(spec, None)).items["item_id"].tolist() == ["a", "b"]
        (tmp_path / CACHED / f"{SHA}.csv").unlink()


def test_all_addresses_are_named_where_none_serves(
    address: str, spec: dict[str, Any], write: Callable[..., Path], refused: Callable[..., str]
):
    mirror = address.replace("items", "none")
    spec["source"] = {"kind": "url", "url": address, "sha256": "0" * 64, "mirrors": [mirror]}
    path = write(spec, None)
    refused(lambda: load_sample_set(path), f"{address}: checksum differs", f"{mirror} (needed by", "cannot be fetched")


def test_a_damaged_file_is_not_kept(
    address: str, spec: dict[str, Any], write: Callable[..., Path], refused: Callable[..., str], tmp_path: Path
):
    spec["source"] = {"kind": "url", "url": address, "sha256": SHA}
    path, served = write(spec, None), tmp_path / "served" / "items.csv"
    served.write_text(DATA[:-5], newline="\n")
    refused(lambda: load_sample_set(path), "checksum differs")
    assert not list((tmp_path / CACHED).glob("*.csv"))
    served.write_text(DATA, newline="\n")
    assert len(load_sample_set(path).items) == 2
    (tmp_path / CACHED / f"{SHA}.csv").write_text("damaged on the disk")
    assert len(load_sample_set(path).items) == 2


@pytest.fixture
def close_sockets(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def closed(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a socket was opened")

    def close() -> None:
        for name in ("socket", "create_connection", "getaddrinfo"):
            monkeypatch.setattr(socket, name, closed)

    return close


def test_offline_takes_the_cache_and_opens_no_socket(
    address: str,
    spec: dict[str, Any],
    write: Callable[..., Path],
    refused: Callable[..., str],
    tmp_path: Path,
    close_sockets: Callable[[], None],
):
    spec["source"] = {"kind": "url", "url": address, "sha256": SHA}
    path = write(spec, None)
    load_sample_set(path)
    close_sockets()
    assert len(load_sample_set(path, fetcher=Fetcher(offline=True)).items) == 2
    (tmp_path / CACHED / f"{SHA}.csv").write_text("damaged")
    for _ in range(2):
        refused(
            lambda: load_sample_set(path, fetcher=Fetcher(offline=True)),
            address,
            "`offline` fetches nothing",
            "`files`",
        )
        (tmp_path / CACHED / f"{SHA}.csv").unlink(missing_ok=True)


def test_offline_asks_the_hub_for_local_files_alone(
    spec: dict[str, Any],
    write: Callable[..., Path],
    refused: Callable[..., str],
    close_sockets: Callable[[], None],
):
    spec["source"] = HUB | {"repo": "memdet-tests/no-such-dataset"}
    path = write(spec, None)
    close_sockets()
    refused(
        lambda: load_sample_set(path, fetcher=Fetcher(offline=True)),
        "memdet-tests/no-such-dataset",
        "`offline` fetches nothing",
    )


def test_the_users_copy_is_known_by_its_checksum(
    spec: dict[str, Any],
    write: Callable[..., Path],
    refused: Callable[..., str],
    tmp_path: Path,
    close_sockets: Callable[[], None],
):
    spec["source"] = {"kind": "url", "url": "https://example.org/items.csv", "sha256": SHA}
    path, copies = write(spec, None), tmp_path / "copies"
    copies.mkdir()
    close_sockets()
    (copies / "items.csv").write_text("another file of that name")
    refused(
        lambda: load_sample_set(path, fetcher=Fetcher(copies, offline=True)), "https://example.org/items.csv", "`files`"
    )
    (copies / "renamed.csv").write_text(DATA, newline="\n")
    assert len(load_sample_set(path, fetcher=Fetcher(copies, offline=True)).items) == 2
    refused(lambda: load_sample_set(path, fetcher=Fetcher(tmp_path / "nowhere")), "nowhere is no directory")


def test_a_file_without_a_checksum_is_not_fetched(
    address: str, spec: dict[str, Any], write: Callable[..., Path], refused: Callable[..., str], tmp_path: Path
):
    spec["source"] = {"kind": "manual", "file": "items.csv", "address": address}
    path = write(spec, None)
    refused(lambda: load_sample_set(path), address, "no known checksum", "download it as items.csv", "`files`")
    assert len(load_sample_set(path, fetcher=Fetcher(tmp_path / "served")).items) == 2


def test_a_fetcher_travels_to_another_process():
    assert pickle.loads(pickle.dumps(Fetcher(Path("copies"), offline=True))) == Fetcher(Path("copies"), True)


def test_the_level_of_poochs_logger_stays_the_users(address: str, spec: dict[str, Any], write: Callable[..., Path]):
    spec["source"] = {"kind": "url", "url": address, "sha256": SHA}
    before = pooch.get_logger().level
    pooch.get_logger().setLevel(logging.DEBUG)
    try:
        load_sample_set(write(spec, None))
        assert pooch.get_logger().level == logging.DEBUG
    finally:
        pooch.get_logger().setLevel(before)
