"""The parsers that are given changed files, and how their cases are made."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st

from memdet.detectors.base import DetectorInfo, Headline
from memdet.detectors.cost import declared_cost
from memdet.errors import NotApplicableError, UserError
from memdet.given_files import read_json
from memdet.results import Run
from memdet.results.schema import ITEMS, SCORES
from memdet.results.shards import DamagedShard, Notes, read_shard, write_shard
from memdet.samplesets import Fetcher, load_sample_set
from memdet.samplesets.prompt_table import Wanted, read_prompt_table
from memdet.samplesets.samples_file import read_samples
from memdet.tables import FORMATS, rows_of
from tests.faults import hostile
from tests.faults.watched import Files, Parser
from tests.helpers.runs import read_manifest, write_run
from tests.samplesets.conftest import CSV, SPEC


def _specs() -> Parser:
    spec = {**SPEC, "source": {"kind": "local", "path": "items.csv"}, "world": "grey", "question": "verbatim"}
    plain = {"spec.yaml": yaml.safe_dump(spec).encode(), "items.csv": CSV.encode()}

    @st.composite
    def cases(draw: hostile.Draw) -> Files:
        tree = draw(hostile.trees(spec))
        try:
            text = yaml.safe_dump(tree) if draw(st.booleans()) else json.dumps(tree)
        except (yaml.YAMLError, ValueError):  # what YAML has no signs for
            text = json.dumps(tree)
        text = draw(hostile.texts(text, hostile.YAML))
        data = draw(hostile.damaged(text.encode("utf-8", "surrogatepass")))
        table = draw(hostile.texts(CSV, hostile.CELLS)) if draw(st.integers(0, 3)) == 0 else CSV
        return {"spec.yaml": data, "items.csv": table.encode("utf-8", "surrogatepass")}

    def read(folder: Path, case: object) -> object:
        return load_sample_set(folder / "spec.yaml", fetcher=Fetcher(offline=True))

    return Parser(cases(), read, plain)


ROWS = [
    {"id": "a", "prompt": "one, two", "memorized": 1, "cluster": "c", "stratum": "s", "extraction_rate": 0.5},
    {"id": "b", "prompt": 'a "b"', "memorized": 0, "cluster": "d", "stratum": "s", "extraction_rate": 0.0},
    {"id": "c", "prompt": "d", "memorized": 1, "cluster": "c", "stratum": "t", "extraction_rate": 1.0},
]


def _plain_rows(suffix: str) -> bytes:
    if suffix == ".txt":
        return "\n".join(row["prompt"] for row in ROWS).encode()
    if suffix == ".parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(ROWS), sink)
        return sink.getvalue().to_pybytes()
    if suffix in (".csv", ".tsv"):
        mark = "," if suffix == ".csv" else "\t"
        quoted = [[str(value).replace('"', '""') for value in row.values()] for row in ROWS]
        lines = [mark.join(ROWS[0]), *(mark.join(f'"{value}"' for value in row) for row in quoted)]
        return "\n".join(lines).encode()
    return json.dumps(ROWS).encode() if suffix == ".json" else "\n".join(map(json.dumps, ROWS)).encode()


@st.composite
def _rows(draw: hostile.Draw, suffix: str) -> Files:
    """A file of rows in one of the formats."""
    if suffix == ".parquet":
        return {f"rows{suffix}": draw(hostile.parquet_bytes(pa.Table.from_pylist(ROWS)))}
    if suffix in (".json", ".jsonl"):
        tree = draw(hostile.trees(ROWS))
        is_list = suffix == ".json" or not isinstance(tree, list)
        text = json.dumps(tree) if is_list else "\n".join(map(json.dumps, tree))
        text = draw(hostile.texts(text, hostile.JSON)) if draw(st.integers(0, 2)) == 0 else text
    else:
        text = draw(hostile.texts(_plain_rows(suffix).decode(), hostile.CELLS))
    return {f"rows{suffix}": draw(hostile.damaged(text.encode("utf-8", "surrogatepass")))}


def _prompts(suffix: str, *, labels: bool) -> Parser:
    def read(folder: Path, case: object) -> object:
        path = folder / f"rows{suffix}"
        if labels:
            return read_samples(path, "m", fetcher=Fetcher(offline=True))
        return read_prompt_table(path, Wanted(optional=("id", "cluster", "stratum", "extraction")))

    return Parser(_rows(suffix), read, {f"rows{suffix}": _plain_rows(suffix)}, examples=100)


@cache
def _run_files() -> Files:
    """A run without checksums, whose changes get past them."""
    with tempfile.TemporaryDirectory() as folder:
        scores = np.array([[5.0, 4.0], [4.0, 4.0], [1.0, 2.0], [3.0, 1.0]])
        path = write_run(Path(folder) / "run", {"good": scores, "bad": -scores}, [1, 1, 0, 0], seeds=(0, 1))
        content = read_manifest(path) | {"messages": {"made": {"good": ["it"]}}, "loading": {"m": {"lora": ["x"]}}}
        content |= {"seconds": {"made": {"good": 1.0}}, "packages": {"torch": "2"}, "halved": {"made": 2}}
        (path / "run.json").write_text(json.dumps(content))
        items = [{"sample_set": "made", "item_id": f"item-{n:03d}", "condition": "a", "model": "m"} for n in range(4)]
        pq.write_table(pa.Table.from_pylist(items, ITEMS), path / "items.parquet")
        return {f"run/{file.name}": file.read_bytes() for file in path.iterdir()}


def _run(part: str) -> Parser:
    plain = _run_files()
    if part == "run.json":
        changed = hostile.json_bytes(json.loads(plain["run/run.json"]))
    else:
        changed = hostile.parquet_bytes(pq.read_table(pa.BufferReader(plain[f"run/{part}"])))

    def read(folder: Path, case: object) -> object:
        run = Run.load(folder / "run")
        rows = rows_of(run)
        told = [drawn(rows) for drawn in FORMATS.values()]
        return told, run.sources, run.images, list(run.score_rows().columns)

    return Parser(changed.map(lambda data: plain | {f"run/{part}": data}), read, plain, examples=40)


def _shards() -> Parser:
    rows = pq.read_table(pa.BufferReader(_run_files()["run/scores.parquet"])).cast(SCORES)
    notes = Notes(sample_set="made", unit="u", settings="s")
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / "a.parquet", rows, notes)
        plain = (Path(folder) / "a.parquet").read_bytes()

    @st.composite
    def with_notes(draw: hostile.Draw) -> bytes:
        table = draw(hostile.tables(rows))
        said = draw(hostile.json_bytes(notes.model_dump()))
        table, sink = table.replace_schema_metadata({b"memdet": said, b"memdet.sha256": b"0"}), pa.BufferOutputStream()
        with suppress(pa.ArrowException, ValueError):
            pq.write_table(table, sink)
            return draw(hostile.damaged(sink.getvalue().to_pybytes()))
        return plain

    def read(folder: Path, case: object) -> object:
        return read_shard(folder / "a.parquet", "u", "s")

    changed = st.one_of(hostile.damaged(plain, often=True), with_notes())
    return Parser(changed.map(lambda data: {"a.parquet": data}), read, {"a.parquet": plain}, 100, (DamagedShard,))


_SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.21.0",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "clip_sample": True,
    "clip_sample_range": 1.0,
    "num_train_timesteps": 20,
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "sample_max_value": 1.0,
    "set_alpha_to_one": True,
    "steps_offset": 1,
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_flow_sigmas": False,
}
_UNET = {
    "_class_name": "UNet2DConditionModel",
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": None,
    "num_class_embeds": None,
}
_VAE = {"_class_name": "AutoencoderKL", "sample_size": 64, "block_out_channels": [4, 8], "scaling_factor": 0.18}
_WEIGHTS = {"metadata": {"total_size": 8}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}


def _index(pipeline: str, unet: str) -> dict[str, Any]:
    parts = {"unet": ["diffusers", unet], "scheduler": ["diffusers", "DDIMScheduler"]}
    if "Stable" in pipeline:
        parts |= {"vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"]}
        parts |= {"tokenizer": ["transformers", "CLIPTokenizer"]}
    return {"_class_name": pipeline, "_diffusers_version": "0.21.0", "safety_checker": [None, None]} | parts


_PIPELINES = {
    "StableDiffusionPipeline": "UNet2DConditionModel",
    "DDPMPipeline": "UNet2DModel",
    "StableDiffusionXLPipeline": "UNet2DConditionModel",
}


def _models() -> Parser:
    import memdet.models.diffusers.class_conditional as of_classes
    from memdet.models import load, load_model
    from memdet.models.diffusers.directory import latent_sizes, weights_in
    from memdet.models.diffusers.training_images import read_training_images

    def encoded(trees: dict[str, Any]) -> Files:
        return {name: json.dumps(tree).encode() for name, tree in trees.items()}

    def directory(pipeline: str) -> dict[str, Any]:
        return {
            "model_index.json": _index(pipeline, _PIPELINES[pipeline]),
            "unet/config.json": _UNET | {"_class_name": _PIPELINES[pipeline]},
            "vae/config.json": _VAE,
            "scheduler/scheduler_config.json": _SCHEDULER,
            "unet/diffusion_pytorch_model.safetensors.index.json": _WEIGHTS,
            "text_encoder/config.json": {},
            "tokenizer/tokenizer_config.json": {},
            "labels.json": ["a", "b"],
            "training.json": {"complete": True, "files": ["images.npy"], "count": 1, "sha256": "0"},
        }

    @st.composite
    def cases(draw: hostile.Draw) -> Files:
        trees = directory(draw(st.sampled_from(sorted(_PIPELINES))))
        files = encoded(trees)
        for _ in range(draw(st.integers(0, 2))):
            name = draw(st.sampled_from(sorted(files)))
            files[name] = draw(hostile.json_bytes(trees[name]))
        return files

    def read(folder: Path, case: Files) -> object:
        refused = []
        for action in (
            lambda: load._check(folder),
            lambda: weights_in(folder / "unet"),
            lambda: latent_sizes(folder, read_json(folder / "unet" / "config.json").get("sample_size")),
            lambda: of_classes._read_labels(folder, 2),
        ):
            try:
                action()
            except UserError as error:
                refused.append(error)
        with suppress(UserError, NotApplicableError):  # there are no images
            read_training_images(folder)
        with suppress(UserError):  # and no weights
            load_model(str(folder), fetcher=Fetcher(offline=True))
        if refused:
            raise refused[0]
        return None

    return Parser(cases(), read, encoded(directory("DDPMPipeline")), examples=40)


def _schedulers() -> Parser:
    from memdet.models.diffusers.directory import read_schedule
    from memdet.models.diffusers.flow_config import is_flow
    from memdet.models.diffusers.scheduler_config import _OF_BETAS, notes_on

    @st.composite
    def cases(draw: hostile.Draw) -> Files:
        name = draw(st.sampled_from([*_OF_BETAS, "FlowMatchEulerDiscreteScheduler", "DDIMScheduler"]))
        more: dict[str, Any] = {"_class_name": name}
        if draw(st.integers(0, 4)) == 0:
            more |= {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 1.0}
            more |= {"num_train_timesteps": 1000}
        return {"scheduler/scheduler_config.json": draw(hostile.json_bytes(_SCHEDULER | more))}

    def read(folder: Path, case: Files) -> object:
        import torch

        config = read_json(folder / "scheduler" / "scheduler_config.json")
        if is_flow(config, str(folder)):
            return None
        found = []
        for mended in (False, True):
            schedule, _ = read_schedule(folder, mended=mended)
            steps = schedule.timesteps(3), schedule.landings(3)
            found += [notes_on(config), steps, schedule.limited(torch.ones(1, 1, 2, 2))]
            assert np.isfinite(schedule.alphas).all()
        return found

    plain = {"scheduler/scheduler_config.json": json.dumps(_SCHEDULER).encode()}
    return Parser(cases(), read, plain, examples=60)


def _cards() -> Parser:
    from memdet.models.diffusers.lora_folders import _base_of

    text = "---\nbase_model: a/b\ntags:\n- lora\n---\n\n# A LoRA\n"

    @st.composite
    def cases(draw: hostile.Draw) -> Files:
        changed = draw(hostile.texts(text, (*hostile.YAML, *hostile.TEXTS)))
        return {"README.md": draw(hostile.damaged(changed.encode("utf-8", "surrogatepass")))}

    return Parser(cases(), lambda folder, case: _base_of(folder / "README.md"), {"README.md": text.encode()})


class _Made(NamedTuple):
    """A headline of such values, which is made when it is read."""

    given: tuple[Any, ...]


def _infos() -> Parser:
    plain: dict[str, Any] = {
        field.name: field.default for field in fields(DetectorInfo) if field.default is not MISSING
    }
    plain |= {"name": "mine", "title": "A title", "access": "score", "cost": "2 steps F + probes JVP"}
    values = st.one_of(
        hostile.VALUES,
        st.builds(lambda value: (value, value), hostile.VALUES),
        st.builds(_Made, st.tuples(hostile.VALUES, hostile.VALUES, hostile.VALUES, hostile.VALUES)),
        st.sampled_from([np.array([1, 2]), np.float64(1.5), np.int64(2), np.array("a"), hostile.HUGE, {1}, b"a", 1j]),
        st.sampled_from(
            [object(), int, len, pa.array([1]), "2 (steps", "F F F", "9**9**9 F", "1/0 F", "(" * 500 + "F"]
        ),
        st.text("0123456789 .+-*/()FJVPstepT", max_size=20),
    )

    def read(folder: Path, case: dict[str, Any]) -> object:
        given = {name: value for name, value in case.items() if name in plain}
        made = {name: Headline(*value.given) if isinstance(value, _Made) else value for name, value in given.items()}
        info = DetectorInfo(**(plain | made))
        told = (info.headline.label(info.name), info.headline.described()) if info.headline else None
        return told, info.is_control, declared_cost(info.cost, {"steps": 2, "probes": 1, "T": 10, "to_t": 3})

    cases = hostile.trees(plain, values).filter(lambda case: isinstance(case, dict))
    return Parser(cases, read, plain)


PARSERS: dict[str, Callable[[], Parser]] = {
    "spec": _specs,
    **{f"prompts{suffix}": lambda suffix=suffix: _prompts(suffix, labels=False) for suffix in (".txt", ".csv", ".tsv")},
    **{f"prompts{suffix}": lambda suffix=suffix: _prompts(suffix, labels=False) for suffix in (".json", ".jsonl")},
    "prompts.parquet": lambda: _prompts(".parquet", labels=False),
    **{f"samples{suffix}": lambda suffix=suffix: _prompts(suffix, labels=True) for suffix in (".csv", ".json")},
    **{f"samples{suffix}": lambda suffix=suffix: _prompts(suffix, labels=True) for suffix in (".jsonl", ".parquet")},
    "run.json": lambda: _run("run.json"),
    "scores.parquet": lambda: _run("scores.parquet"),
    "items.parquet": lambda: _run("items.parquet"),
    "shard": _shards,
    "model": _models,
    "scheduler": _schedulers,
    "card": _cards,
    "info": _infos,
}
