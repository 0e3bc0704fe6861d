"""Loads sample sets and suites."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memdet.errors import UserError
from memdet.samplesets.class_files import read_class_files
from memdet.samplesets.evidence import with_joined_clusters
from memdet.samplesets.fetch import Fetcher, specs_directory
from memdet.samplesets.file_formats import RawTable, read_table
from memdet.samplesets.items import check_items, content_hash, image_of_png, items_frame
from memdet.samplesets.names import advice
from memdet.samplesets.prompt_table import SUFFIXES
from memdet.samplesets.sample_set import SampleSet
from memdet.samplesets.spec import Columns, FilesSource, SampleSetSpec, SuiteSpec, label_text
from memdet.samplesets.strict_yaml import nearest, read_yaml

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

# What a spec says of the set, and not of its scores; how many seeds a run took is among its own settings.
UNHASHED: dict[str, bool | set[str]] = {
    "published": True,
    "order": True,
    "world": True,
    "question": True,
    "protocol": {"seeds"},
}


def sample_set_ids() -> list[str]:
    """Ids of the sample sets that memdet knows, sorted."""
    return sorted(path.stem for path in specs_directory().glob("*.yaml"))


def suite_names() -> list[str]:
    """Names of the suites that memdet knows, sorted."""
    return sorted(path.stem for path in (specs_directory() / "suites").glob("*.yaml"))


def load_spec(reference: str | Path) -> SampleSetSpec:
    """Read a spec without its data.

    Args:
        reference: An id from ``memdet list sets``, or the path of a YAML file.

    Raises:
        UserError: Unknown id, missing file, or a spec with a mistake.
    """
    return read_yaml(_spec_path(reference), SampleSetSpec)


def load_suite(name: str) -> SuiteSpec:
    """Read a suite.

    Args:
        name: From ``memdet list suites``.

    Raises:
        UserError: Unknown name, or a suite file with a mistake.
    """
    if not isinstance(name, str):
        raise UserError(f"a suite is named by text, not {type(name).__name__}; `memdet list suites` shows all")
    if name not in suite_names():
        hint = f"{nearest(name, suite_names(), 'that is none of them:')} `memdet list suites` shows all"
        raise UserError(f"unknown suite {name!r} in {specs_directory() / 'suites'}: {hint}")
    return read_yaml(specs_directory() / "suites" / f"{name}.yaml", SuiteSpec)


def load_sample_set(reference: str | Path, *, fetcher: Fetcher | None = None) -> SampleSet:
    """Load a sample set with its items, fetching and checking the data.

    Args:
        reference: An id from ``memdet list sets``, or the path of a YAML file.
        fetcher: Where remote files may come from; the network and the cache if not given.

    Raises:
        UserError: Unknown id, a mistake in the spec, or data that are missing, changed or wrong.

    Example:
        >>> load_sample_set("mixture-2d").items["label"].tolist().count(1)
        20
    """
    path = _spec_path(reference)
    spec = read_yaml(path, SampleSetSpec)
    fetcher = fetcher or Fetcher()
    if isinstance(spec.source, FilesSource):
        table, sha256 = read_class_files(spec.source, path, fetcher)
    else:
        file, data, sha256 = fetcher.read(spec.source, path)
        table = read_table(file, data, _named(spec.columns))
    model = spec.model
    if model.startswith(("./", "../")):  # like a local source, it starts at the spec file
        model = str((path.parent / model).resolve())
    return SampleSet(
        id=spec.id,
        version=spec.version,
        title=spec.title,
        task=spec.task,
        model=model,
        protocol=spec.protocol,
        items=with_joined_clusters(
            _items(spec.columns, table, model),
            has_prompts=spec.columns.prompt is not None,
            noise=spec.protocol.noise,
            stated=spec.columns.cluster is not None,
        ),
        has_prompts=spec.columns.prompt is not None,
        content_hash=content_hash(spec.model_dump(mode="json", exclude_defaults=True, exclude=UNHASHED), sha256),
        spec=spec,
    )


load_samples_file = SampleSet.from_file


def _spec_path(reference: str | Path) -> Path:
    if not isinstance(reference, str | os.PathLike):
        found = type(reference).__name__
        raise UserError(f"a sample set is named by its id or a path, not {found}; {advice(reference)}")
    text = str(reference)
    if isinstance(reference, str) and text in sample_set_ids():
        return specs_directory() / f"{text}.yaml"
    path = Path(reference).expanduser()
    if not isinstance(reference, str) or path.is_file() or path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        if not path.exists():
            raise UserError(f"{path}: this spec file does not exist; correct the path, or see `memdet list sets`")
        if path.suffix.lower() in SUFFIXES:
            raise UserError(
                f"{path} is a file of prompts, not the spec of a sample set: give it as `samples` with a `model`, from "
                "Python SampleSet.from_file(path, model=...)",
                parameters=("samples", "model"),
            )
        return path
    if text in suite_names():
        raise UserError(f"{text} is a suite, not a sample set: name one of its sets, {', '.join(_members(text))}")
    hint = f"{nearest(text, sample_set_ids(), 'no id is near:')} `memdet list sets` shows all"
    raise UserError(f"unknown sample set {text!r} in {specs_directory()}: {hint}")


def _members(suite: str) -> list[str]:
    return load_suite(suite).sample_sets


def _named(columns: Columns) -> list[str]:
    """Columns of the data file that are read."""
    return [columns.label.column, *filter(None, columns.model_dump(exclude={"label"}).values())]


def _items(columns: Columns, table: RawTable, model: str) -> pd.DataFrame:
    """The items in memdet's own columns, without the rows that have neither label."""
    wanted = {
        "item_id": columns.id,
        "condition": columns.prompt or columns.condition or "",
        "cluster": columns.cluster or columns.id,
        "stratum": columns.stratum,
        "split": columns.split,
        "model": columns.model,
    }
    for name in _named(columns):
        if name not in table.columns:
            hint = nearest(name, table.columns, f"it has {', '.join(table.columns)}")
            raise UserError(f"{table.path}: column {name!r} is missing; {hint}")
    label = columns.label
    labels = {label_text(value): 1 for value in label.positive} | {label_text(value): 0 for value in label.negative}
    values = [label_text(value) for value in table.columns[label.column]]
    kept = [index for index, value in enumerate(values) if value in labels]
    defaults = {"stratum": "all", "split": "test", "model": model}
    items: dict[str, list[Any]] = {"label": [labels[values[index]] for index in kept]}
    for name, column in wanted.items():
        if column is None:
            items[name] = [defaults[name]] * len(kept)
        else:
            items[name] = [_cell(table, column, index) for index in kept]
    items["extraction"] = [_share(table, columns.extraction, index) for index in kept]
    items["image"] = [_image(table, columns.image, index) for index in kept]
    shown = ", ".join(repr(value)[:40] for value in sorted(set(values))[:8])
    hint = f"column {label.column!r} holds {shown or 'nothing'}: correct columns.label in the spec"
    check_items(RawTable(table.path, items, [table.lines[index] for index in kept], table.unit), hint)
    return items_frame(items)


def _cell(table: RawTable, column: str, index: int) -> str:
    """A value as text; numbers as ids are taken, gaps are not."""
    value = table.columns[column][index]
    text = label_text(value) if isinstance(value, int | float | str) and value == value else ""
    if not text.strip():
        raise UserError(f"{table.where(index)}: column {column!r} is empty or not text; fill it or remove the row")
    return text


def _share(table: RawTable, column: str | None, index: int) -> float:
    """A number from 0 to 1; NaN without a column."""
    if column is None:
        return math.nan
    try:
        value = float(table.columns[column][index])
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= 1:
        raise UserError(
            f"{table.where(index)}: column {column!r} holds no share from 0 to 1; measure it or remove the row"
        )
    return value


def _image(table: RawTable, column: str | None, index: int) -> NDArray[np.float32] | None:
    """A PNG as float32 ``[channels, height, width]`` in [-1, 1]; None without a column."""
    if column is None:
        return None
    return image_of_png(table.columns[column][index], f"{table.where(index)}: column {column!r}")
