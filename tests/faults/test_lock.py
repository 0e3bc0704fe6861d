"""One process writes into a run directory; the others are told who."""

import json
import multiprocessing
import os
import shutil
import signal

import pytest

from memdet.cli import main
from memdet.errors import UserError
from memdet.results.lock import DirectoryLock
from memdet.running import scoring
from tests.faults.conftest import resume
from tests.faults.small import small_run


def files_of(directory):
    return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("state", ["begun", "whole", "new"])
@pytest.mark.parametrize("other_settings", [False, True])
def test_a_second_run_is_refused_and_changes_nothing(state, other_settings, request, tmp_path):
    directory = tmp_path / "new" if state == "new" else request.getfixturevalue(state)
    directory.mkdir(exist_ok=True)
    lock = DirectoryLock(directory)
    lock.acquire()
    before = files_of(directory)
    with pytest.raises(UserError) as caught:
        small_run(directory, seeds=1, batch_size=50 if other_settings else 100)
    told = str(caught.value)
    assert "\n" not in told
    assert f"{directory} is in use: process {os.getpid()} on " in told
    assert " since 20" in told
    assert "wait until that run ends, or end it and repeat the command, or choose another directory" in told
    assert files_of(directory) == before
    lock.release()
    assert not (directory / ".lock").exists()


def hold(directory, told):
    DirectoryLock(directory).acquire()
    told.send(os.getpid())
    signal.pause()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=hold, args=(tmp_path, theirs))
    process.start()
    number, lock = ours.recv(), DirectoryLock(tmp_path)
    with pytest.raises(UserError, match=f"in use: process {number} on "):
        lock.acquire()
    process.kill()
    process.join()
    assert (tmp_path / ".lock").exists()
    lock.acquire()
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    lock.release()


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[1]", b'{"pid": "x"}', b'{"pid": 1}'])
def test_what_a_lock_says_need_not_be_readable(content, tmp_path):
    holder = DirectoryLock(tmp_path)
    holder.acquire()
    (tmp_path / ".lock").write_bytes(content)
    with pytest.raises(UserError, match="is in use: another process writes there: wait"):
        DirectoryLock(tmp_path).acquire()
    holder.release()


def test_a_lock_that_its_last_owner_removed_is_not_held(tmp_path, monkeypatch):
    """Between opening the file and locking it the owner may remove it, and another process make a new one."""
    from memdet.results import lock as module

    real, opened = module._try_lock, []

    def slow(file, directory):
        if not opened:
            (directory / ".lock").unlink()
        opened.append(file)
        return real(file, directory)

    monkeypatch.setattr(module, "_try_lock", slow)
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    assert len(opened) == 2
    lock.require_place()
    lock.release()


def test_a_killed_start_leaves_nothing_in_the_way(tmp_path, undisturbed):
    """Killed before there is a manifest: a lock and an unfinished file."""
    (tmp_path / ".lock").write_text("{}")
    (tmp_path / ".run-123.partial.json").write_text("{")
    resume(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"items.parquet", "run.json", "scores.parquet"}


@pytest.mark.parametrize("back", [False, True])
def test_a_directory_that_is_taken_away_ends_the_run(back, tmp_path, monkeypatch, undisturbed):
    """And is not made again, where another run may be by now."""
    out, away, real = tmp_path / "run", tmp_path / "away", scoring.score_items

    def take(*arguments):
        if out.exists() and len(list(out.rglob("*.parquet"))) == 2:
            out.rename(away)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score_items", take)
        with pytest.raises(UserError, match="was deleted or moved while the run wrote there: put it back"):
            resume(out)
    assert not out.exists()
    if back:
        away.rename(out)
    else:
        shutil.rmtree(away)
    resume(out)
    assert (out / "scores.parquet").read_bytes() == undisturbed


def test_another_directory_in_its_place_is_left_alone(tmp_path, monkeypatch):
    out, real = tmp_path / "run", scoring.score_items

    def exchange(*arguments):
        if out.exists() and len(list(out.rglob("*.parquet"))) == 1:
            shutil.rmtree(out)
            (out / "shards").mkdir(parents=True)
        return real(*arguments)

    monkeypatch.setattr(scoring, "score_items", exchange)
    with pytest.raises(UserError, match="was deleted or moved"):
        resume(out)
    assert [path.name for path in out.rglob("*")] == ["shards"]


ARGUMENTS = ["run", "mixture-2d", "--detector", "wen2024@steps=2", "--seeds", "1", "--batch-size", "100", "--quiet"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_ends_the_command_with_one_line(name, tmp_path, monkeypatch, capsys):
    number, real, calls = getattr(signal, name), scoring.score_items, []
    if signal.getsignal(number) != signal.SIG_DFL:
        pytest.skip(f"{name} is somebody else's here")

    def stop(*arguments):
        calls.append(1)
        if len(calls) == 9:
            os.kill(os.getpid(), number)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "score_items", stop)
        with pytest.raises(SystemExit) as ended:
            main([*ARGUMENTS, "--out", str(tmp_path / "run")])
    printed, told = capsys.readouterr()
    assert ended.value.code == 128 + number
    assert printed == ""
    assert told == f"memdet: ended by {name}; the same command resumes a run\n"
    assert signal.getsignal(number) == signal.SIG_DFL
    assert not (tmp_path / "run" / ".lock").exists()
    assert list((tmp_path / "run" / "shards").iterdir())
