"""Run directories at an address: the same run as in a directory, whatever the store does meanwhile."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest

from memdet import load_run
from memdet.cli import main
from memdet.errors import UserError
from memdet.results.lease import Lease
from memdet.results.remote import Store, place_of
from memdet.results.sinks import RunDirectory
from tests.faults.conftest import UNITS_DONE, interrupted, resume

FILES = ["items.parquet", "run.json", "scores.parquet"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote") / "alone"
    resume(folder)
    return folder


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = f"memory://{tmp_path.name}/results/run"
    yield place
    system = fsspec.filesystem("memory")
    if system.exists(f"/{tmp_path.name}"):
        system.rm(f"/{tmp_path.name}", recursive=True)


@pytest.fixture
def finished(address, alone):
    """An address with a finished run."""
    for name in FILES:
        Store(address).send(name, alone)
    return address


def other_machine(tmp_path, monkeypatch):
    """Nothing of what this one keeps."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))


def scores_of(address):
    return Store(address).read("scores.parquet")


def count_units(monkeypatch):
    """Units that are computed from now on."""
    seen, real = [], RunDirectory.write_shard
    monkeypatch.setattr(
        RunDirectory, "write_shard", lambda self, unit, *rest: (seen.append(unit), real(self, unit, *rest))[1]
    )
    return seen


def write_lock(address, **said):
    now = datetime.now(UTC).isoformat(timespec="seconds")
    owner = {"pid": 1, "host": "elsewhere", "since": now, "renewed": now, "token": "other"} | said
    Store(address).write(".lock", json.dumps(owner).encode())


def test_the_store_holds_what_a_directory_would(address, alone):
    run = resume(address)
    assert list(Store(address).files()) == FILES
    assert scores_of(address) == (alone / "scores.parquet").read_bytes()
    assert load_run(address).name == run.name == "results/run"
    assert load_run(address).scores.equals(load_run(alone).scores)


def test_another_machine_goes_on(tmp_path, address, alone, monkeypatch):
    interrupted(address)
    held = [name for name in Store(address).files() if name.startswith("shards/")]
    assert len(held) == UNITS_DONE
    other_machine(tmp_path, monkeypatch)
    computed = count_units(monkeypatch)
    resume(address)
    assert len(computed) == 1
    assert scores_of(address) == (alone / "scores.parquet").read_bytes()
    assert list(Store(address).files()) == FILES


def test_a_finished_run_is_not_computed_again(finished, monkeypatch):
    computed = count_units(monkeypatch)
    assert resume(finished).n_scores == load_run(finished).n_scores
    assert computed == []


@pytest.mark.parametrize("fails_at", [0, 3, 7])
def test_an_upload_that_fails_loses_nothing(address, alone, monkeypatch, fails_at):
    """Eight files are sent: a manifest, four shards, two tables and the finished manifest."""
    system, left = type(fsspec.filesystem("memory")), [fails_at]
    real = system.put_file

    def put_file(self, source, target, **options):
        if left[0] == 0:
            raise PermissionError("the key has expired")
        left[0] -= 1
        return real(self, source, target, **options)

    monkeypatch.setattr(system, "put_file", put_file)
    with pytest.raises(UserError, match=r"memory://.*/run cannot be written \(PermissionError: the key has expired\)"):
        resume(address)
    assert ".lock" not in Store(address).files()
    left[0] = -1
    computed = count_units(monkeypatch)
    resume(address)
    assert len(computed) == (4 if fails_at == 0 else max(0, 4 - fails_at))
    assert scores_of(address) == (alone / "scores.parquet").read_bytes()
    assert list(Store(address).files()) == FILES


def test_half_a_shard_is_computed_again(tmp_path, address, alone, monkeypatch, capsys):
    interrupted(address)
    name = next(name for name in Store(address).files() if name.startswith("shards/"))
    Store(address).write(name, Store(address).read(name)[:100])
    other_machine(tmp_path, monkeypatch)
    computed = count_units(monkeypatch)
    resume(address)
    assert len(computed) == 2
    assert f"{address}/{name} does not count" in capsys.readouterr().err
    assert scores_of(address) == (alone / "scores.parquet").read_bytes()


def test_a_damaged_manifest_is_named_by_its_address(address):
    interrupted(address)
    Store(address).write("run.json", b"{")
    with pytest.raises(UserError, match=rf"{address}/run.json is damaged"):
        resume(address)


def test_damaged_scores_are_named_by_their_address(finished):
    Store(finished).write("scores.parquet", b"PAR1")
    with pytest.raises(UserError, match=rf"{finished}/scores.parquet is damaged"):
        load_run(finished)


def test_other_runs_and_files_are_refused(address, alone):
    Store(address).write("run.json", (alone / "run.json").read_bytes().replace(b'"seeds": 1', b'"seeds": 3'))
    with pytest.raises(UserError, match=rf"{address}"):
        resume(address)
    other = f"{address}-other"
    Store(other).write("thesis.txt", b"mine")
    with pytest.raises(UserError, match=rf"{other} holds other files and no run"):
        resume(other)
    assert list(Store(other).files()) == ["thesis.txt"]


def test_what_others_put_beside_a_run_stays(address):
    interrupted(address)
    Store(address).write("notes.txt", b"mine")
    resume(address)
    assert list(Store(address).files()) == sorted([*FILES, "notes.txt"])


def test_a_run_that_another_machine_writes_is_refused(address):
    write_lock(address)
    with pytest.raises(UserError, match=rf"{address} is in use: process 1 on elsewhere"):
        resume(address)
    assert list(Store(address).files()) == [".lock"]


def gone():
    """The number of a process that was and is not."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    "said",
    [
        lambda: {"renewed": (datetime.now(UTC) - timedelta(minutes=11)).isoformat()},
        lambda: {"pid": gone(), "host": socket.gethostname()},
        lambda: {"renewed": "yesterday"},
    ],
    ids=["silent", "killed here", "damaged"],
)
def test_a_lease_that_nobody_holds_is_taken_over(address, said):
    write_lock(address, **said())
    lease = Lease(Store(address))
    lease.acquire()
    assert json.loads(Store(address).read(".lock"))["pid"] == os.getpid()
    lease.release()
    assert Store(address).files() == {}


def test_a_run_that_was_taken_over_stops(address):
    lease = Lease(Store(address))
    lease.acquire()
    lease.renew()
    lease.require()
    write_lock(address)
    lease.renew()
    with pytest.raises(UserError, match="was taken over while this run was silent .process 1 on elsewhere"):
        lease.require()
    lease.release()
    assert json.loads(Store(address).read(".lock"))["token"] == "other"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("https://host/run", "is a web page"),
        ("s3://", "is no address"),
        ("s3://bucket/../other", "without . and .."),
        ("s3://bucket//run", "is no address"),
        ("sftp://me:secret@host/run", "holds a password"),
        ("simplecache::s3://bucket/run", "is no address"),
    ],
)
def test_addresses_without_a_run_are_refused(given, told):
    with pytest.raises(UserError, match=told) as error:
        place_of(given)
    assert error.value.parameters == ("out",)


def test_an_address_on_this_machine_is_a_path(tmp_path, alone):
    run = resume(f"file://{tmp_path}/results/run")
    assert run.path == tmp_path / "results" / "run"
    assert (run.path / "scores.parquet").read_bytes() == (alone / "scores.parquet").read_bytes()


@pytest.mark.parametrize("address", ["no-such-protocol://a/b", "gdrive://a/b"])
def test_what_fsspec_cannot_open_is_a_line(address):
    with pytest.raises(UserError, match=rf"^{address}"):
        load_run(address)


@pytest.mark.parametrize(
    "arguments",
    [["report", "RUN"], ["compare", "RUN"], ["compare", "RUN", "ALONE"], ["check", "RUN", "--baseline", "RUN"]],
    ids=lambda arguments: " ".join(arguments),
)
def test_commands_read_an_address(finished, alone, arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main([{"RUN": finished, "ALONE": str(alone)}.get(one, one) for one in arguments])
    assert ended.value.code == 0
    assert "wen2024@steps=2" in capsys.readouterr().out


def test_commands_name_the_address_of_what_they_cannot_read(address, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["report", address])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"memdet: {address} holds no run: run.json is missing\n"


def test_places_of_other_files_are_on_this_machine(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["report", "results/quick/reference", "--out", "s3://bucket/table.txt"])
    assert ended.value.code == 2
    assert "is an address: name a place on this machine" in capsys.readouterr().err
    assert not Path("s3:").exists()


@pytest.mark.slow
def test_s3(tmp_path, alone, monkeypatch):
    pytest.importorskip("s3fs", reason="s3fs and moto do not install beside the pinned python-dateutil 4")
    pytest.importorskip("flask")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        fsspec.filesystem("s3").mkdir("bucket")
        with pytest.raises(UserError, match="s3://no-such-bucket/run cannot be"):
            resume("s3://no-such-bucket/run")
        interrupted("s3://bucket/results/run")
        assert len(Store("s3://bucket/results/run").files()) == UNITS_DONE + 1
        other_machine(tmp_path, monkeypatch)
        write_lock("s3://bucket/results/run")
        with pytest.raises(UserError, match="is in use: process 1 on elsewhere"):
            resume("s3://bucket/results/run")
        Store("s3://bucket/results/run").remove([".lock"])
        computed = count_units(monkeypatch)
        resume("s3://bucket/results/run")
        assert len(computed) == 1
        assert scores_of("s3://bucket/results/run") == (alone / "scores.parquet").read_bytes()
        assert list(Store("s3://bucket/results/run").files()) == FILES
        assert load_run("s3://bucket/results/run").name == "results/run"
    finally:
        server.stop()
