"""Files of prompts without labels: text, JSON Lines or CSV."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from memdet.errors import UserError
from memdet.samplesets.evidence import joined_clusters, same_text
from memdet.samplesets.file_formats import parse_json_lines, read_table
from memdet.samplesets.items import content_hash
from memdet.samplesets.sample_set import SampleSet
from memdet.samplesets.spec import Protocol
from memdet.samplesets.strict_yaml import decode, nearest, read_bytes

_OPTIONAL = ("id", "cluster")
_Rows = tuple[list[tuple[int, dict[str, Any]]], Iterable[str]]  # number and content of each line; names of all fields


@dataclass(frozen=True)
class Prompt:
    """A prompt of a file.

    Attributes:
        text: As written; a line of a text file without the white space around it.
        id: From the file, or made of the line.
        cluster: Family of near-duplicates; its own id where the file names none. Texts that are the same but for case,
            white space and the composition of characters are one family.
        lines: All lines of the file that hold this text, from 1.
    """

    text: str
    id: str
    cluster: str
    lines: tuple[int, ...]


@dataclass(frozen=True)
class PromptFile:
    """What a file of prompts holds.

    Attributes:
        path: The file.
        prompts: Each text once, in the order of their first lines.
        sha256: Of the file.
        not_read: Keys or columns of the file that say nothing to memdet.
    """

    path: Path
    prompts: Sequence[Prompt]
    sha256: str
    not_read: tuple[str, ...] = ()

    @property
    def n_lines(self) -> int:
        """Prompts, repeats included."""
        return sum(len(prompt.lines) for prompt in self.prompts)


def read_prompts(path: str | Path) -> PromptFile:
    """Read prompts from ``.txt`` (one a line, blank lines aside), ``.jsonl`` or ``.csv`` (key or column ``prompt``).

    JSON Lines and CSV may name an ``id`` and a ``cluster``; whatever else they hold is not read, and named as such. A
    text that comes more than once is one prompt with several lines, under the id and cluster of the first.

    Args:
        path: The file, UTF-8.

    Raises:
        UserError: Missing file, another format or encoding, no prompts, or a line with a mistake.
    """
    path = Path(path).expanduser()
    readers = {".txt": _text, ".jsonl": _json_lines, ".csv": _csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"{path}: unknown format {path.suffix!r}; write prompts to a file that ends in .txt, .jsonl or .csv"
        )
    data = read_bytes(path)
    found: dict[str, list[int]] = {}
    first: dict[str, dict[str, str]] = {}
    owners: dict[str, tuple[str, int]] = {}
    rows, fields = reader(path, data)
    for line, row in rows:
        where = f"{path}, line {line}"
        for key, value in row.items():
            if not (isinstance(value, str) and value.strip()):
                raise UserError(f"{where}: {key} is empty or not text; write text, or remove the line")
            if any("\ud800" <= letter <= "\udfff" for letter in value):
                raise UserError(f"{where}: {key} holds half a surrogate pair; write whole characters")
        text, name = row["prompt"], row.get("id", _name(line))
        owner, other = owners.setdefault(name, (text, line))
        if owner != text:
            raise UserError(f"{where}: the id is also that of another prompt, in line {other}; give each its own")
        found.setdefault(text, []).append(line)
        first.setdefault(text, row)
    if not found:
        raise UserError(f"{path} holds no prompts; write one a line")
    names = {text: first[text].get("id", _name(lines[0])) for text, lines in found.items()}
    stated = [first[text].get("cluster", names[text]) for text in found]
    prompts = [
        Prompt(text, names[text], cluster, tuple(lines))
        for (text, lines), cluster in zip(found.items(), _joined(list(found), stated), strict=True)
    ]
    not_read = tuple(name for name in dict.fromkeys(fields) if name not in ("prompt", *_OPTIONAL))
    return PromptFile(path, prompts, hashlib.sha256(data).hexdigest(), not_read)


def scan_set(
    prompts: PromptFile, reference: PromptFile | None, *, model: str, steps: int, guidance: float, seeds: int
) -> SampleSet:
    """Prompts to scan and their reference as one sample set without labels, so that both are scored alike.

    Reference prompts that are scanned too are left out of the reference (:func:`not_scanned`).

    Args:
        prompts: To be scanned, stratum ``prompt``.
        reference: Stratum ``reference``.
        model: What :func:`memdet.load_model` takes.
        steps, guidance, seeds: Of the protocol; the noise is shared between items.

    Returns:
        The set; ``label`` is None everywhere, and an item's id is its stratum, a colon and its id in the file.

    Raises:
        UserError: A bad setting, or no reference prompt is left.
    """
    import pandas as pd

    try:
        protocol = Protocol(steps=steps, guidance=guidance, seeds=seeds, noise="shared")
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        raise UserError(f"`{name}` {problem['input']!r}: {problem['msg']}", parameters=(name,)) from None
    others = not_scanned(prompts, reference) if reference else []
    if reference is not None and not others:
        raise UserError(
            f"{reference.path} holds no prompt that is not in {prompts.path} too; name other prompts as the reference"
        )
    rows = [
        (f"{kind}:{prompt.id}", prompt.text, f"{kind}:{prompt.cluster}", kind)
        for kind, members in (("prompt", prompts.prompts), ("reference", others))
        for prompt in members
    ]
    items = pd.DataFrame(rows, columns=["item_id", "condition", "cluster", "stratum"])
    items["label"] = pd.Series([None] * len(rows), dtype=object)
    items = items.assign(model=model, split="test", extraction=math.nan, image=None)
    return SampleSet(
        id="scan",
        version=1,
        title=prompts.path.name,
        task="prompt",
        model=model,
        protocol=protocol,
        items=items,
        has_prompts=True,
        content_hash=content_hash(
            {"protocol": protocol.model_dump(mode="json"), "reference": reference.sha256 if reference else None},
            prompts.sha256,
        ),
        spec=None,
    )


def not_scanned(prompts: PromptFile, reference: PromptFile) -> list[Prompt]:
    """Prompts of the reference that are none of the scanned ones in any spelling: no prompt is its own reference."""
    scanned = {same_text(prompt.text) for prompt in prompts.prompts}
    return [prompt for prompt in reference.prompts if same_text(prompt.text) not in scanned]


def _joined(texts: Sequence[str], clusters: Sequence[str]) -> list[str]:
    """Clusters of texts, those that hold one text in several spellings made one."""
    import numpy as np

    seen: dict[str, int] = {}
    return joined_clusters(clusters, np.array([seen.setdefault(same_text(text), len(seen)) for text in texts]))


def _name(line: int) -> str:
    return f"line-{line:05d}"


def _text(path: Path, data: bytes) -> _Rows:
    lines = decode(data, path).replace("\r\n", "\n").split("\n")
    return [(number, {"prompt": line.strip()}) for number, line in enumerate(lines, start=1) if line.strip()], ()


def _json_lines(path: Path, data: bytes) -> _Rows:
    rows, names = [], dict[str, None]()
    for number, row in enumerate(parse_json_lines(path, data), start=1):
        if "prompt" not in row:
            hint = nearest("prompt", row, f"it has {json.dumps(sorted(row))[:80]}.")
            raise UserError(f"{path}, line {number}: key 'prompt' is missing; {hint} Rename the key, or add it")
        names |= dict.fromkeys(row)
        kept = {key: row[key] for key in ("prompt", *_OPTIONAL) if key in row}
        rows.append((number, {k: str(v) if k in _OPTIONAL and type(v) is int else v for k, v in kept.items()}))
    return rows, names


def _csv(path: Path, data: bytes) -> _Rows:
    try:
        header = next(csv.reader(io.StringIO(decode(data, path), newline="")), [])
    except csv.Error:  # which the reader of the whole table explains
        header = ["prompt"]
    if not header:
        return [], ()
    if "prompt" not in header:
        hint = nearest("prompt", header, f"it has {json.dumps(header)[:80]}.")
        raise UserError(f"{path}, line 1: column 'prompt' is missing; {hint} Rename the column in the first line")
    columns = ["prompt", *(name for name in _OPTIONAL if name in header)]
    table = read_table(path, data, columns)
    values = [table.columns[name] for name in columns]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
    # an optional field that is left empty is one that is not given
    kept = [{key: value for key, value in row.items() if value or key == "prompt"} for row in rows]
    return list(zip(table.lines, kept, strict=True)), header
