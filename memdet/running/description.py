"""What a run is before it is computed: settings that must match to continue it, and the circumstances."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from memdet.detectors import Detector
from memdet.models import ScoreModel
from memdet.results.manifest import DetectorEntry, LoadingEntry, Manifest, SampleSetEntry, Settings
from memdet.running.options import RunOptions
from memdet.samplesets import SampleSet
from memdet.samplesets.digests import items_digests
from memdet.user_code import code_of

_PACKAGES = ("memdet", "torch", "diffusers", "transformers", "numpy", "scikit-learn", "pyarrow")


def settings_of_run(
    sample_sets: Sequence[SampleSet],
    models: Mapping[str, ScoreModel],
    detectors: Sequence[Detector],
    options: RunOptions,
    batch_sizes: Mapping[str, int],
) -> Settings:
    """All that decides the scores; two runs with equal settings give the same table."""
    fingerprints = {name: model.fingerprint() for name, model in models.items()}
    files = {name: model.files() for name, model in models.items()}
    return Settings(
        memdet=version("memdet"),
        sample_sets=[
            SampleSetEntry(
                id=s.id,
                version=s.version,
                content_hash=s.content_hash,
                model=s.model,
                model_hashes={name: fingerprints[name] for name in s.items["model"].unique()},
                model_files={name: files[name] for name in s.items["model"].unique() if files[name]},
                items=items_digests(s.items),
                dtype=str(models[s.items["model"].iloc[0]].dtype).removeprefix("torch."),
                steps=s.protocol.steps,
                guidance=s.protocol.guidance,
                noise=s.protocol.noise,
                seeds=options.seeds or s.protocol.seeds,
                batch_size=batch_sizes[s.id],
            )
            for s in sample_sets
        ],
        detectors=[
            DetectorEntry(
                label=d.label, version=d.info.version, access=d.info.access, seeded=d.info.seeded, code=code_of(d)
            )
            for d in detectors
        ],
        device=options.device,
        accelerate=options.accelerate,
    )


def manifest_of_run(
    settings: Settings, detectors: Sequence[Detector], options: RunOptions, command: str = ""
) -> Manifest:
    """The manifest of a run that begins now.

    Args:
        settings: From :func:`settings_of_run`.
        detectors: State the tolerances of their scores.
        options: How it is computed.
        command: What started it.
    """
    return Manifest(
        settings=settings,
        tolerances={detector.label: detector.tolerance for detector in detectors},
        loading={name: LoadingEntry.of(one) for name, one in options.loading.items() if one.chosen},
        offline=options.fetcher.offline,
        threads=torch.get_num_threads()
        if options.workers == 1
        else threads_of_worker(options.workers, threads_asked()),
        workers=options.workers,
        attention="scaled_dot_product_attention; plain (MATH) kernel inside forward AD",
        **describe_machine(command, options.device),
    )


def threads_asked() -> int | None:
    """How many threads the user gives this process, by ``OMP_NUM_THREADS``; None where nothing is said."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else None


def threads_of_worker(workers: int, most: int | None = None) -> int:
    """Its part of the cores, and no more threads than the user gives.

    Example:
        >>> threads_of_worker(1, most=1), threads_of_worker(10**6)
        (1, 1)
    """
    part = max(1, (os.cpu_count() or 1) // workers)
    return part if most is None else min(part, most)


def describe_machine(command: str, device: str) -> dict[str, Any]:
    """What computes, with what, since when: fields of a :class:`~memdet.results.Manifest`."""
    return {
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_revision": _git_revision(),
        "packages": {name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": torch.cuda.get_device_name(device) if device.startswith("cuda") else processor(),
        "cores": os.cpu_count(),
    }


def _git_revision() -> str | None:
    """Revision of the checkout that memdet runs from, ``-dirty`` where files differ; None for an installed wheel."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def processor() -> str:
    """Name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
