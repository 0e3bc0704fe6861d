"""Runs detectors on a pipeline of Stable Diffusion 1.4's size with random weights, and measures time and memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memdet.io_utils import write_text
from memdet.tables.formats import markdown
from memdet.tables.table import Table, left, right

DETECTORS = ("wen2024", "jeon2025", "jeon2024-eigenvalues@krylov=10")
TOKENS = 77
PROMPTS = (  # of words that the tokenizer knows
    ("Ashdown plain dress on table o01", 1),
    ("jorvik light sneaker on table H85", 0),
    ("ALDERON vintage dress for winter s40", 1),
    ("plain sneaker for winter k47", 0),
)


@dataclass(frozen=True)
class Shape:
    """Sizes of a pipeline's networks; all that is not named is as in Stable Diffusion 1.4.

    Attributes:
        unet: ``config.json`` of a UNet2DConditionModel.
        text: Of a CLIPTextConfig.
        vae: Of an AutoencoderKL.
    """

    unet: dict[str, Any]
    text: dict[str, Any]
    vae: dict[str, Any]


@dataclass(frozen=True)
class MeasuredRun:
    """One run.

    Attributes:
        peak_bytes: Largest resident memory of the process.
        loading_peak_bytes: The same, until the models were loaded; None where the system does not say.
        wall_seconds: From start to exit.
        cpu_seconds: Of all threads together, which other work on the machine does not add to.
        load: Processes that wanted a core at the start, in the minute before.
        manifest: ``run.json``.
        scores: By detector, one an item.
        costs: By detector, an item: seconds, and evaluations by unit.
    """

    peak_bytes: int
    loading_peak_bytes: int | None
    wall_seconds: float
    cpu_seconds: float
    load: float
    manifest: dict[str, Any]
    scores: dict[str, list[float]]
    costs: dict[str, dict[str, float]]


def stable_diffusion() -> Shape:
    """Stable Diffusion 1.4."""
    from memdet.benching.projection.unet import read_unet_config

    return Shape(
        unet=read_unet_config("sd-1.4").values,
        text={"vocab_size": 49_408, "hidden_size": 768, "intermediate_size": 3_072}
        | {"num_hidden_layers": 12, "num_attention_heads": 12, "projection_dim": 768, "hidden_act": "quick_gelu"},
        vae={"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
        | {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 512},
    )


def tiny() -> Shape:
    """Some ten thousand parameters, to try a script with."""
    blocks = {"down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}
    blocks |= {"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]}
    return Shape(
        unet={"_class_name": "UNet2DConditionModel", "sample_size": 8, "in_channels": 4, "out_channels": 4, **blocks}
        | {"block_out_channels": [8, 16], "layers_per_block": 1, "cross_attention_dim": 12, "attention_head_dim": 2}
        | {"norm_num_groups": 4},
        text={"vocab_size": 500, "hidden_size": 12, "intermediate_size": 24, "num_hidden_layers": 1}
        | {"num_attention_heads": 2, "projection_dim": 12},
        vae={"down_block_types": ["DownEncoderBlock2D"], "up_block_types": ["UpDecoderBlock2D"]}
        | {"block_out_channels": [8], "norm_num_groups": 4, "sample_size": 8},
    )


def make_pipeline(shape: Shape, directory: Path, seed: int = 0) -> dict[str, Any]:
    """Write a pipeline with random weights, as diffusers does.

    Returns:
        Parameters of its networks, their bytes, and the standard deviation of a prediction of noise for noise.
    """
    import torch
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from memdet.zoo.tiny_sd.recipe import make_scheduler, make_tokenizer

    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_config(shape.unet).eval()  # no layer of it starts at zero
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    text_encoder = CLIPTextModel(CLIPTextConfig(max_position_embeddings=TOKENS, **special, **shape.text)).eval()
    vae = AutoencoderKL(latent_channels=4, **shape.vae).eval()
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = TOKENS
    size = unet.config.sample_size // 4  # a small picture, which takes no time
    with torch.no_grad():
        text = torch.randn(1, TOKENS, unet.config.cross_attention_dim)
        spread = float(unet(torch.randn(1, 4, size, size), 981, text).sample.std())
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(directory)
    networks = {"unet": unet, "text_encoder": text_encoder, "vae": vae}
    parameters = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    written = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    return {"parameters": parameters, "bytes": written, "output_std": spread, "seed": seed}


def write_samples(path: Path, items: int) -> None:
    """Write the first prompts, half of them called memorized."""
    rows = [{"prompt": prompt, "memorized": label} for prompt, label in PROMPTS[:items]]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def arguments(detectors: Sequence[str]) -> list[str]:
    """Of ``memdet`` for the files in the working directory."""
    named = [part for name in detectors for part in ("--detector", name)]
    options = ["--seeds", "1", "--batch-size", "1", "--device", "cpu", "--dtype", "float32", "--out", "run", "--quiet"]
    return ["run", "--model", "./model", "--samples", "samples.jsonl", *named, *options]


def run_measured(work: Path, detectors: Sequence[str]) -> MeasuredRun:
    """Run ``memdet run`` on ``model`` and ``samples.jsonl`` in a directory, as a process of its own.

    The parent must be small: until it turns into the program, a child counts its parent's memory as its own.

    Raises:
        RuntimeError: The run failed.
    """
    start, loading_peak, load = time.perf_counter(), None, os.getloadavg()[0]
    # Threads that wait sleep, or they would take cores from other work and count as work themselves.
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ
    child = subprocess.Popen([sys.executable, "-m", "memdet", *arguments(detectors)], cwd=work, env=environment)
    status = Path(f"/proc/{child.pid}/status")
    while True:
        pid, code, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        if loading_peak is None and (work / "run").exists():  # made once the models are loaded
            loading_peak = _peak(status)
        time.sleep(0.1)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(code)
    if child.returncode:
        raise RuntimeError(f"memdet run ended with {child.returncode}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1_024)
    cpu = usage.ru_utime + usage.ru_stime
    return MeasuredRun(peak, loading_peak, wall, cpu, load, *_read(work / "run", detectors))


def project(shape: Shape, detectors: Sequence[str]) -> dict[str, Any]:
    """What ``memdet bench plan`` says of batch size 1 in float32: FLOPs a row by unit, bytes at the peak."""
    from memdet.benching.projection.devices import peaks_of
    from memdet.benching.projection.roofline import plan
    from memdet.benching.projection.unet import UNetConfig
    from memdet.detectors import detector_classes, make_detectors

    config = UNetConfig("scale", shape.unet, "the configuration", TOKENS)
    made = plan(
        config,
        make_detectors(detectors, detector_classes()),
        "h100",  # of which time alone depends
        peaks_of("h100", "float32"),
        "float32",
        batch=1,
    )
    return {
        "flops": {unit: made.flops(unit) for unit in made.traces},
        "peak_bytes": {one.detector: one.memory for one in made.projections},
        "weight_bytes": made.weights,
    }


def record(shape: Shape, made: dict[str, Any], measured: MeasuredRun, detectors: Sequence[str]) -> dict[str, Any]:
    """All figures, as they are written to ``record.json``."""
    manifest, planned = measured.manifest, project(shape, detectors)
    rows = []
    for name, cost in measured.costs.items():
        flops = sum(cost[unit] * count for unit, count in planned["flops"].items())
        rows.append(
            {
                "detector": name,
                **cost,
                "tflop_per_item": flops / 1e12,
                "gflop_per_second": flops / 1e9 / cost["seconds_per_item"],
                "projected_peak_bytes": planned["peak_bytes"][name],
                "scores": measured.scores[name],
            }
        )
    projected = max(planned["peak_bytes"].values())
    machine = ("processor", "cores", "threads", "platform", "python", "packages", "attention")
    return {
        "schema_version": 1,
        "measured": True,
        "weights": "random",
        "git_revision": manifest["git_revision"],
        "started": manifest["started"],
        "command": shlex.join(["memdet", *arguments(detectors)]),
        "machine": {name: manifest[name] for name in machine} | {"memory_bytes": _memory()},
        "model": made | {"latent": [4, *[shape.unet["sample_size"]] * 2], "tokens": TOKENS, "dtype": "float32"},
        "wall_seconds": measured.wall_seconds,
        "loading_seconds": measured.wall_seconds - manifest["seconds_total"],
        "cpu_seconds": measured.cpu_seconds,
        "load_before": measured.load,
        "peak_bytes": measured.peak_bytes,
        "loading_peak_bytes": measured.loading_peak_bytes,
        "projected_peak_bytes": projected,
        "measured_over_projected": measured.peak_bytes / projected,
        "detectors": rows,
    }


def log(found: dict[str, Any]) -> str:
    """The record, to be read."""
    machine, model = found["machine"], found["model"]
    parameters = ", ".join(f"{name} {count:,}" for name, count in model["parameters"].items())
    lines = [
        f"$ {found['command']}",
        f"started {found['started']}, revision {found['git_revision']}",
        f"machine: {machine['processor']}, {machine['cores']} cores, {_gb(machine['memory_bytes'])} of memory, "
        f"{machine['threads']} threads, {machine['platform']}",
        "packages: " + ", ".join(f"{name} {version}" for name, version in machine["packages"].items()),
        f"model: random weights of seed {model['seed']}, {parameters} parameters, {model['dtype']}, "
        f"latents {' x '.join(map(str, model['latent']))}, {model['tokens']} tokens, {_gb(model['bytes'])} on disk",
        f"standard deviation of a noise prediction: {model['output_std']:.3f}",
        "",
        f"{'detector':32}{'F':>6}{'JVP':>6}{'VJP':>6}{'s / item':>10}{'TFLOP':>8}{'GFLOP/s':>9}  scores",
    ]
    for row in found["detectors"]:
        lines.append(
            f"{row['detector']:32}{row['F']:6.1f}{row['JVP']:6.1f}{row['VJP']:6.1f}{row['seconds_per_item']:10.1f}"
            f"{row['tflop_per_item']:8.2f}{row['gflop_per_second']:9.1f}  "
            + " ".join(f"{score:.6g}" for score in row["scores"])
        )
    loading = found["loading_peak_bytes"]
    lines += [
        "",
        f"wall time {found['wall_seconds']:.0f} s, of it {found['loading_seconds']:.0f} s to start, load and end; "
        f"{found['cpu_seconds']:.0f} s of the cores; load of the machine when it began: {found['load_before']:.1f}",
        f"peak resident memory of the process: {_gb(found['peak_bytes'])}"
        + (f" (before the first forward, the weights only mapped from their file: {_gb(loading)})" if loading else ""),
        f"projected by memdet bench plan (UNet and its intermediate tensors): {_gb(found['projected_peak_bytes'])}",
        f"measured / projected: {found['measured_over_projected']:.3f}",
    ]
    return "\n".join(lines) + "\n"


def table(found: dict[str, Any]) -> str:
    """What the documentation shows of the record, in Markdown."""
    rows = [
        [
            row["detector"],
            *(f"{row[unit]:g}" for unit in ("F", "JVP", "VJP")),
            f"{row['tflop_per_item']:.2f}",
            f"{row['seconds_per_item']:.0f}",
            f"{row['projected_peak_bytes'] / 1e9:.2f}",
        ]
        for row in found["detectors"]
    ]
    columns = (*left("detector"), *right("F", "JVP", "VJP", "TFLOP / item", "s / item", "GB projected"))
    machine, items = found["machine"], len(found["detectors"][0]["scores"])
    text = [
        f"Peak resident memory of the whole process: **{_gb(found['peak_bytes'])}**, "
        f"{found['measured_over_projected']:.2f} times the {_gb(found['projected_peak_bytes'])} that "
        "`memdet bench plan` projects for the UNet and its intermediate tensors. Of the difference, the text encoder's "
        f"weights are {_gb(4 * found['model']['parameters']['text_encoder'])}.",
        f"{found['model']['parameters']['unet']:,} parameters of the UNet, {items} items; {machine['processor']}, "
        f"{machine['cores']} cores, {machine['threads']} threads, torch {machine['packages']['torch']}. The run took "
        f"{found['wall_seconds'] / 60:.0f} minutes, {found['loading_seconds']:.0f} s of them to start, load and end. "
        f"It used {found['cpu_seconds'] / 60:.0f} minutes of one core; other processes were waiting for the cores too "
        f"(load {found['load_before']:.1f} when it began), so the seconds per item are more than on an idle machine.",
    ]
    return markdown.document([Table(columns, rows), *text])


def measure(shape: Shape, work: Path, out: Path, items: int, detectors: Sequence[str]) -> dict[str, Any]:
    """Do all of it.

    Args:
        shape: Of the pipeline.
        work: Where the pipeline and the run go.
        out: Where ``log.txt`` and ``record.json`` go.
        items: How many prompts, 2 to 4.
        detectors: Labels.

    Returns:
        The record.
    """
    write_samples(work / "samples.jsonl", items)
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # its memory is not the run's
        made = pool.apply(make_pipeline, (shape, work / "model"))
    found = record(shape, made, run_measured(work, detectors), detectors)
    write_text(out / "record.json", json.dumps(found, indent=1) + "\n")
    write_text(out / "log.txt", log(found))
    return found


def _read(run: Path, detectors: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Manifest, scores and costs of a run directory."""
    from memdet.detectors import detector_classes, make_detectors
    from memdet.results import Run
    from memdet.tables import rows_of

    found = Run.load(run)
    rows = {row["detector"]: row for row in rows_of(found)}
    labels = [detector.label for detector in make_detectors(detectors, detector_classes())]
    scores = {label: found.scores[label].tolist() for label in labels}
    units = {"seconds_per_item": "seconds_per_item", "F": "forwards", "JVP": "jvps", "VJP": "vjps"}
    costs = {label: {unit: float(rows[label][key]) for unit, key in units.items()} for label in labels}
    return json.loads((run / "run.json").read_text(encoding="utf-8")), scores, costs


def _peak(status: Path) -> int | None:
    """Largest resident memory that a process has had so far."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1_024 for line in lines if line.startswith("VmHWM:")), None)


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
