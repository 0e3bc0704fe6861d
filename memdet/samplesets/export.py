"""A sample set as a directory for a dataset hub: items in Parquet, Croissant 1.1 metadata, and a dataset card."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from memdet.errors import UserError
from memdet.samplesets.items import png_of_image
from memdet.samplesets.sample_set import SampleSet
from memdet.samplesets.spec import SampleSetSpec

if TYPE_CHECKING:
    import pandas as pd

CROISSANT = "http://mlcommons.org/croissant/1.1"
RESPONSIBLE_AI = "http://mlcommons.org/croissant/RAI/1.0"
CREATOR = "The memdet developers"
PARQUET = "application/x-parquet"  # as mlcroissant and the Hugging Face hub write it
OPEN_LICENCES = ("MIT", "Apache-2.0", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0")
"""Names of SPDX, which let others publish what is under them."""
UNKNOWN = "unknown"  # the hub's word for a licence that nobody stated
TAGS = ["memorization", "diffusion-models", "benchmark", "memdet"]
CITE_MEMDET = """\
@software{memdet,
  title = {memdet: a benchmark suite and evaluation harness for detectors of memorization in diffusion models},
  author = {{The memdet developers}},
  url = {https://github.com/memdet/memdet},
}"""
DESCRIPTIONS = {
    "item_id": "Name of the item.",
    "prompt": "Text that the model is conditioned on.",
    "condition": "Condition of the model that is not text.",
    "model": "Model that has or has not memorized the item.",
    "image": "Image in the space that the model generates in.",
    "memorized": "1 for memorized, 0 for not.",
    "stratum": "Kind of item.",
    "cluster": "Family of near-duplicates.",
    "extraction": "Measured share of the item's generations that copy training data, 0 to 1.",
}
_TYPES = {"memorized": ["sc:Integer", "cr:Label"], "extraction": "sc:Float", "image": "sc:ImageObject"}


def export_files(sample_set: SampleSet, repo: str | None = None) -> dict[str, bytes]:
    """Files of the directory, by name.

    Args:
        sample_set: With a spec.
        repo: As for :func:`dataset_card`.

    Returns:
        ``test.parquet``, ``dev.parquet`` where the set has such items, ``croissant.json`` and ``README.md``.

    Raises:
        UserError: A samples file, which has no spec and so no licence.
    """
    spec = sample_set.spec
    if spec is None:
        raise UserError(f"{sample_set.title} has no spec; write one to say licence, citation and provenance")
    tables = {split: _table(sample_set, spec, split) for split in ("test", "dev")}
    tables = {split: table for split, table in tables.items() if len(table)}
    files = {f"{split}.parquet": parquet_of(table) for split, table in tables.items()}
    metadata = croissant(sample_set, {name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
    return files | {
        "croissant.json": (json.dumps(metadata, indent=2, ensure_ascii=False) + "\n").encode(),
        "README.md": dataset_card(sample_set, {split: len(table) for split, table in tables.items()}, repo).encode(),
    }


def croissant(sample_set: SampleSet, files: dict[str, str]) -> dict[str, Any]:
    """Croissant 1.1 JSON-LD: a record set a split.

    Args:
        sample_set: With a spec.
        files: SHA-256 of each ``<split>.parquet``, which lie beside the metadata.
    """
    spec = _spec(sample_set)
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": spec.id,
        "description": f"{spec.title}. Items with a label, memorized or not, for the diffusion model {spec.model}. "
        f"Task: {spec.task}. memdet scores detectors of memorization on them, under the protocol of its spec.",
        "conformsTo": [CROISSANT, RESPONSIBLE_AI],
        "license": _licence(spec.licence),
        "citeAs": spec.citation,
        "creator": {"@type": "sc:Organization", "name": CREATOR},
        "version": f"{spec.version}.0.0",
        "datePublished": spec.published,
        "keywords": ["memorization", "diffusion models", "benchmark"],
        "rai:dataCollection": spec.provenance,
        "rai:dataAnnotationProtocol": spec.label_rule,
        "rai:dataLimitations": spec.known_problems,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": name,
                "name": name,
                "contentUrl": name,
                "encodingFormat": PARQUET,
                "sha256": digest,
            }
            for name, digest in files.items()
        ],
        "recordSet": [_record_set(spec, name) for name in files],
    }
    return {key: value for key, value in described.items() if value not in (None, [])}


def dataset_card(sample_set: SampleSet, rows: dict[str, int], repo: str | None = None) -> str:
    """README.md of a dataset repository on the Hugging Face hub.

    Args:
        sample_set: With a spec.
        rows: Items of each split.
        repo: ``owner/name``, where it is known: the card then says how to load the set from there.
    """
    spec = _spec(sample_set)
    licence = open_licence(spec.licence)
    front = front_matter(
        f"{spec.id} v{spec.version}",
        "other" if licence is None else licence.lower(),
        {split: f"{split}.parquet" for split in rows},
    )
    p = spec.protocol
    controls = ", ".join(f"{name} {value}" for name, value in spec.blind_controls.items()) or "none stated"
    counts = sample_set.items.groupby(["split", "label"]).size()
    lines = [
        f"# {spec.id} v{spec.version}",
        "",
        f"{spec.title}. A sample set of memdet, a benchmark of detectors of memorization in diffusion models.",
        "",
        "| split | memorized | not |",
        "| --- | --: | --: |",
        *(f"| {split} | {counts.get((split, 1), 0)} | {counts.get((split, 0), 0)} |" for split in rows),
        "",
        f"- Model: `{spec.model}`. Task: {spec.task}.",
        f"- Protocol: {p.scheduler.upper()}, {p.steps} steps, guidance {p.guidance:g}, {p.seeds} noise seeds, "
        f"{p.noise} starting noise.",
        f"- What makes an item memorized: {spec.label_rule}",
        f"- Strata: {spec.strata}",
        f"- Clusters: {spec.clusters}",
        f"- AUROC that a control may reach without a model: {controls}.",
        f"- Provenance: {spec.provenance}",
        f"- Licence: {spec.licence}",
        f"- Content hash, of spec and data: `{sample_set.content_hash}`",
        "",
        "Constants are fitted on `dev`, tables show `test`. `croissant.json` describes the columns. "
        f"`memdet run {spec.id}` scores the set.",
        "",
        "## Known problems",
        "",
        *(f"- {problem}" for problem in spec.known_problems or ["None known."]),
        "",
        *([] if repo is None else columns_section(_columns(spec), _described(spec))),
        *([] if repo is None else loading_section(repo, next(iter(rows)), spec.columns.prompt is not None)),
        "## Citation",
        "",
        spec.citation,
        *([] if repo is None else ["", "And memdet:", "", "```bibtex", CITE_MEMDET, "```"]),
    ]
    return front + "\n".join(lines) + "\n"


def front_matter(name: str, licence: str, data_files: Mapping[str, str]) -> str:
    """What the hub reads of a card, and the line below which its text begins.

    Args:
        name: That is shown.
        licence: As the hub calls it.
        data_files: File of each split.
    """
    files = [{"split": split, "path": path} for split, path in data_files.items()]
    configs = [{"config_name": "default", "data_files": files}]
    front = {"pretty_name": name, "license": licence, "tags": TAGS, "configs": configs}
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n"


def open_licence(text: str) -> str | None:
    """The name of SPDX with which a licence begins, if it lets others publish what is under it.

    Example:
        >>> open_licence("MIT (the repository); captions of LAION"), open_licence("None is stated.")
        ('MIT', None)
    """
    first = text.split()[0].rstrip(",.;") if text.split() else ""
    return first if first in OPEN_LICENCES else None


def columns_section(names: Iterable[str], described: Mapping[str, str]) -> list[str]:
    """Lines of a card that say what the columns are."""
    table = [f"| `{name}` | {' '.join(described[name].split())} |".replace("\n", " ") for name in names]
    return ["## Columns", "", "| column | meaning |", "| --- | --- |", *table, ""]


def loading_section(repo: str, split: str, has_prompts: bool) -> list[str]:
    """Lines of a card that say how to load a set from the hub, and how to score it.

    Args:
        repo: ``owner/name``.
        split: One that it has.
        has_prompts: Whether ``memdet run --samples`` takes it.
    """
    python = [
        "```python",
        "from datasets import load_dataset",
        "",
        f'items = load_dataset("{repo}", split="{split}")',
        "```",
    ]
    score = ["", "```bash", f"memdet run --model MODEL --samples {repo}:{split}", "```"] if has_prompts else []
    return ["## How to load", "", *python, *score, ""]


def _table(sample_set: SampleSet, spec: SampleSetSpec, split: str) -> pd.DataFrame:
    items = sample_set.items[sample_set.items["split"] == split]
    columns = {"item_id": "item_id", "condition": "prompt" if sample_set.has_prompts else "condition"}
    columns |= {"label": "memorized", "stratum": "stratum", "cluster": "cluster"}
    columns |= {name: name for name in ("model", "extraction", "image") if getattr(spec.columns, name) is not None}
    table = items[list(columns)].rename(columns=columns)
    if "image" in table:
        table["image"] = table["image"].map(lambda image: {"bytes": png_of_image(image), "path": "image.png"})
    return table.reset_index(drop=True)


def parquet_of(table: pd.DataFrame) -> bytes:
    """A Parquet file with what the hub's readers go by; images are dictionaries of ``bytes`` and ``path``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    # What the hub's readers go by; without it an image would be a structure of bytes.
    features = {
        field.name: {"_type": "Image"}
        if field.name == "image"
        else {"_type": "Value", "dtype": str(field.type).removeprefix("large_")}
        for field in arrow.schema
    }
    arrow = arrow.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(arrow, buffer)
    return buffer.getvalue()


def _record_set(spec: SampleSetSpec, file: str) -> dict[str, Any]:
    split = file.removesuffix(".parquet")
    descriptions = _described(spec)
    fields = []
    for name in _columns(spec):
        source: dict[str, Any] = {"fileObject": {"@id": file}, "extract": {"column": name}}
        if name == "image":
            source["transform"] = {"jsonPath": "bytes"}
        fields.append(
            {
                "@type": "cr:Field",
                "@id": f"{split}/{name}",
                "name": name,
                "description": descriptions[name],
                "dataType": _TYPES.get(name, "sc:Text"),
                "source": source,
            }
        )
    what = "Items that tables show." if split == "test" else "Items on which detectors fit their constants."
    return {
        "@type": "cr:RecordSet",
        "@id": split,
        "name": split,
        "description": what,
        "key": {"@id": f"{split}/item_id"},
        "field": fields,
    }


def _columns(spec: SampleSetSpec) -> list[str]:
    condition = "prompt" if spec.columns.prompt is not None else "condition"
    names = ["item_id", condition, "memorized", "stratum", "cluster"]
    return names + [name for name in ("model", "extraction", "image") if getattr(spec.columns, name) is not None]


def _described(spec: SampleSetSpec) -> dict[str, str]:
    """What each column means."""
    return DESCRIPTIONS | {
        "memorized": f"{DESCRIPTIONS['memorized']} {spec.label_rule}",
        "stratum": f"{DESCRIPTIONS['stratum']} {spec.strata}",
        "cluster": f"{DESCRIPTIONS['cluster']} {spec.clusters}",
    }


def _spec(sample_set: SampleSet) -> SampleSetSpec:
    assert sample_set.spec is not None
    return sample_set.spec


def _licence(text: str) -> str:
    """Address of the licence where its text begins with a name of SPDX."""
    first = open_licence(text)
    return text if first is None else f"https://spdx.org/licenses/{first}.html"


_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
} | {
    name: f"cr:{name}"
    for name in (
        *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
        *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
        *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
        *("separator", "source", "subField", "transform"),
    )
}
