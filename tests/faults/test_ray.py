"""Runs on a real Ray: the same bytes as on this machine, whatever ends on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memdet.detectors import detector_classes, make_detectors
from memdet.errors import UserError
from memdet.models import load_model
from memdet.running import RunOptions, ray_engine, run
from memdet.samplesets import load_sample_set
from tests.faults.small import small_run

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow
may_crash = pytest.mark.skipif(
    "MEMDET_RAY_FAULTS" not in os.environ, reason="Ray's own code has crashed in it once: MEMDET_RAY_FAULTS=1 runs it"
)

ONCE = '''
import os, signal
from pathlib import Path
import torch
from memdet.detectors import Detector, DetectorInfo

class Once(Detector):
    """Ends its process the first time, or as often as its file says."""
    info = DetectorInfo(name="once", title="t", access="score", cost="0")
    def score(self, probe):
        file = Path(__file__).with_name("times")
        left = int(file.read_text())
        if left:
            file.write_text(str(left - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.arange(len(probe), dtype=torch.float64)
'''


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of two CPUs on this machine."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        second = cluster.add_node(num_cpus=2)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster, second
        ray.shutdown()
        cluster.shutdown()


def on_ray(out, cluster, workers, **options):
    return small_run(out, workers=workers, engine="ray", address=cluster[0].address, **options)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("ray") / "alone"
    small_run(out)
    return (out / "scores.parquet").read_bytes()


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_scores_are_those_of_this_machine(tmp_path, cluster, alone, workers):
    on_ray(tmp_path / "run", cluster, workers)
    assert (tmp_path / "run" / "scores.parquet").read_bytes() == alone
    assert ray.is_initialized()  # by the caller, who also ends it


@may_crash
@pytest.mark.parametrize("times", [1, 2])
def test_units_of_an_actor_that_ended_go_to_others(tmp_path, cluster, times):
    (tmp_path / "once.py").write_text(ONCE)
    (tmp_path / "times").write_text("0")
    detectors = make_detectors(["once", "wen2024"], detector_classes((tmp_path / "once.py",)))
    sets = [load_sample_set("mixture-2d")]
    run(sets, detectors, tmp_path / "alone", RunOptions(seeds=1), progress=False)
    (tmp_path / "times").write_text(str(times))
    options = RunOptions(seeds=1, engine="ray", workers=2, address=cluster[0].address)
    run(sets, detectors, tmp_path / "run", options, progress=False)
    assert (tmp_path / "times").read_text() == "0"
    first, second = ((tmp_path / name / "scores.parquet").read_bytes() for name in ("alone", "run"))
    assert first == second


@may_crash
def test_a_unit_that_ends_every_actor_is_given_up_and_what_is_done_is_kept(tmp_path, cluster):
    (tmp_path / "once.py").write_text(ONCE)
    (tmp_path / "times").write_text("1000")
    detectors = make_detectors(["once"], detector_classes((tmp_path / "once.py",)))
    options = RunOptions(seeds=1, engine="ray", address=cluster[0].address)
    with pytest.raises(UserError, match=r"unit .* ended its process 3 times; what is done is kept"):
        run([load_sample_set("mixture-2d")], detectors, tmp_path / "run", options, progress=False)
    (tmp_path / "times").write_text("0")
    assert len(run([load_sample_set("mixture-2d")], detectors, tmp_path / "run", options, progress=False).score_rows())


@may_crash
def test_a_node_that_is_removed_takes_no_rows_with_it(tmp_path, cluster, alone, monkeypatch):
    nodes, second = cluster
    keep, kept = ray_engine._Crew._keep, []

    def remove(crew, key, outcome):
        kept.append(key)
        if len(kept) == 2:
            nodes.remove_node(second, allow_graceful=False)
        return keep(crew, key, outcome)

    monkeypatch.setattr(ray_engine._Crew, "_keep", remove)
    on_ray(tmp_path / "run", cluster, 3)
    assert (tmp_path / "run" / "scores.parquet").read_bytes() == alone


def test_a_full_object_store_delays_a_unit(tmp_path, cluster, alone, monkeypatch):
    result, full = ray_engine._Crew._result, []

    def refuse(crew, ref, member, key):
        if key is not None and not full:
            full.append(key)
            failing = crew._ray.remote(num_cpus=0)(_raise_full).remote()
            return result(crew, failing, member, key)
        return result(crew, ref, member, key)

    monkeypatch.setattr(ray_engine._Crew, "_result", refuse)
    on_ray(tmp_path / "run", cluster, 2)
    assert (tmp_path / "run" / "scores.parquet").read_bytes() == alone


def _raise_full():
    raise ray.exceptions.ObjectStoreFullError("full")


def test_a_driver_that_is_killed_is_resumed_by_either_engine(tmp_path, cluster, alone):
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.faults.small import small_run\n"
        "if __name__ == '__main__':\n"
        "    small_run(Path(sys.argv[1]), engine='ray', address=sys.argv[2], batch_size=5)\n"
    )
    script, out = tmp_path / "driver.py", tmp_path / "run"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    driver = subprocess.Popen([sys.executable, script, out, cluster[0].address], env=environment)
    while driver.poll() is None and len(list(out.glob("shards/*"))) < 3:
        time.sleep(0.01)  # the only way to see a shard of another process
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    small_run(tmp_path / "other", batch_size=5)
    small_run(out, batch_size=5)
    assert (out / "scores.parquet").read_bytes() == (tmp_path / "other" / "scores.parquet").read_bytes()


def test_what_the_work_refuses_is_said_in_one_line(tmp_path, cluster, monkeypatch):
    detectors = make_detectors(["wen2024"], detector_classes())
    options = RunOptions(engine="ray", seeds=1, address=cluster[0].address)
    other = load_model("mixture-2d")
    monkeypatch.setattr(type(other), "fingerprint", lambda self: "another")
    with pytest.raises(UserError, match=r"model mixture-2d is another one on .*: put the same files"):
        run([load_sample_set("mixture-2d")], detectors, tmp_path / "run", options, progress=False)


def test_without_ray_or_without_a_cluster_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(UserError, match="`address` 127.0.0.1:1 cannot be reached"):
        small_run(tmp_path / "run", engine="ray", address="127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs the package ray: pip install 'memdet\[ray\]'"):
        small_run(tmp_path / "run", engine="ray")
