"""Data sets of the Hugging Face hub as tables of prompts: ``owner/name``, ``owner/name:split``.

The library ``datasets`` says what splits and configurations there are, from the names of a repository's files and its
card, and reads the rows. Files come through the hub's client and lie in its cache, so that what was read once is there
without a network. No code of a repository is run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from memdet.errors import UserError
from memdet.io_utils import write_text
from memdet.samplesets.fetch import at_level
from memdet.samplesets.file_formats import RawTable
from memdet.samplesets.hub_repository import Repository
from memdet.samplesets.strict_yaml import first_line

_REFERENCE = re.compile(
    r"(?P<repository>[\w.-]+/[\w.-]+(@[\w./-]+)?)((:(?P<config>[\w.-]+))?:(?P<split>[\w.-]+))?", re.ASCII
)
_CARDS = ("README.md", ".huggingface.yaml", "dataset_infos.json")  # what may say how the files make splits
_TABLES = ("arrow", "csv", "json", "parquet", "text")
_AS_FILE = "save its prompts as a file, .csv or .parquet say, and name that"


def is_data_set(path: Path, suffixes: Collection[str]) -> bool:
    """Whether somebody who writes this means a data set of the hub: no file is there, nor is it one's name.

    Args:
        path: As written.
        suffixes: Of files of prompts.

    Example:
        >>> [is_data_set(Path(name), [".csv"]) for name in ("owner/name:train", "owner/name.csv", "owner")]
        [True, False, False]
    """
    return (
        not path.exists() and path.suffix.lower() not in suffixes and _REFERENCE.fullmatch(path.as_posix()) is not None
    )


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    Attributes:
        reference: As the user wrote it.
        rows: The library's iterable of them.
        names: Columns.
        remarks: What a user should know of how it was found.
    """

    reference: str
    rows: Any
    names: tuple[str, ...]
    remarks: tuple[str, ...]

    def read(self, columns: list[str]) -> tuple[RawTable, str]:
        """Some columns, and the SHA-256 of what they hold, whatever file or commit it came from.

        Raises:
            UserError: The files are damaged.
        """
        wanted = list(dict.fromkeys(columns))
        values: dict[str, list[Any]] = {name: [] for name in wanted}
        with _readable(self.reference):
            for row in self.rows.select_columns(wanted):
                for name, column in values.items():
                    column.append(row.get(name))
        digest = hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()
        count = len(values[wanted[0]])
        return RawTable(self.reference, values, range(1, count + 1), "row"), digest


def open_split(reference: str, *, offline: bool = False) -> Split:
    """Find a split, and fetch its files and no others.

    Args:
        reference: ``owner/name``, ``owner/name:split`` or ``owner/name:config:split``, each with ``@revision`` after
            the name if wanted. A data set of one split needs no name of it.
        offline: Take the hub's cache alone.

    Raises:
        UserError: The hub does not give it, it is not in the cache, several splits or configurations are there, or
            none of them is a table.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise UserError(f"{reference!r} is no data set of the hub; write owner/name:split")
    name = found["repository"].partition("@")[0]
    if Path(name).exists():
        raise UserError(f"{name} is a local directory, which goes before a data set of the hub; name a file in it")
    repository = Repository.of(found["repository"], offline=offline, kind="dataset")
    with TemporaryDirectory(prefix="memdet-data-set-") as folder:
        rows = _opened(reference, found["config"], found["split"], repository, Path(folder).resolve())
    return Split(reference, rows, tuple(_columns_of(rows, reference)), tuple(repository.remarks))


def _opened(reference: str, config: str | None, split: str | None, repository: Repository, folder: Path) -> Any:
    """The rows of a split.

    The library is shown a folder of empty files of the repository's names; those of the split are then fetched.
    """
    import datasets

    names = _names(repository)
    for name in names:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    for name in _CARDS:
        if name in names:
            (folder / name).write_bytes(repository.fetch(name).read_bytes())
    with _readable(reference):
        known = datasets.get_dataset_config_names(str(folder))
    if (config is None and len(known) > 1 and "default" not in known) or (config is not None and config not in known):
        raise UserError(f"{reference}: it has configurations {_listed(known)}; write {repository.name}:NAME:SPLIT")
    with _readable(reference):
        builder = datasets.load_dataset_builder(str(folder), name=config)
    if builder.name not in _TABLES:
        raise UserError(f"{reference}: memdet reads tables, and its files are of the kind {builder.name!r}; {_AS_FILE}")
    splits = {str(name): list(files) for name, files in (builder.config.data_files or {}).items()}
    chosen = split or (next(iter(splits)) if len(splits) == 1 else None)
    if chosen not in splits:
        own = f"{repository.name}:{config}" if config else repository.name
        raise UserError(f"{reference}: it has the splits {_listed(splits)}; write {own}:{next(iter(splits), 'SPLIT')}")
    inside = [_name_in(folder, file, names, reference) for file in splits[chosen]]
    builder.config.data_files = {chosen: [str(repository.fetch(name)) for name in inside]}
    _keep_names(repository, names)
    with _readable(reference):
        return builder.as_streaming_dataset(split=chosen)


def _names(repository: Repository) -> list[str]:
    """Names of all files of a repository; of the cache alone those that were kept when the first ones were fetched."""
    names = repository.names()
    if repository.is_cached_only and (kept := _place_of_names(repository)).is_file():
        return [str(name) for name in json.loads(kept.read_text(encoding="utf-8"))]
    return names


def _keep_names(repository: Repository, names: list[str]) -> None:
    """Keep which files there are, without which nobody could tell later that there are other splits."""
    if not repository.is_cached_only:
        with suppress(OSError):  # a cache that cannot be written is none
            write_text(_place_of_names(repository), json.dumps(names))


def _place_of_names(repository: Repository) -> Path:
    import platformdirs

    cache = Path(platformdirs.user_cache_dir("memdet")) / "data-sets"
    return cache / repository.name.replace("/", "--") / f"{repository.commit}.json"


def _name_in(folder: Path, file: str, names: Collection[str], reference: str) -> str:
    """A file of the folder by its name in the repository; a card may name whatever it wants.

    Raises:
        UserError: The file is not of the repository.
    """
    path = Path(file)
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else file
    if name not in names:
        raise UserError(f"{reference}: its card names {name}, which is not in the repository; {_AS_FILE}")
    return name


def _columns_of(rows: Any, reference: str) -> list[str]:
    """Names of the columns: stated, or those of the first row."""
    with _readable(reference):
        return list(rows.column_names or next(iter(rows), {}))


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "") or "none"


@contextmanager
def _readable(reference: str) -> Iterator[None]:
    """Inside, whatever the library raises means that the files are none that it reads; of a card it says nothing."""
    try:
        with at_level(logging.getLogger("huggingface_hub"), logging.ERROR):
            yield
    except UserError:
        raise
    except Exception as error:  # many kinds; the user needs one line
        raise UserError(
            f"{reference}: the files of the data set cannot be read ({type(error).__name__}: {first_line(error)}); "
            f"{_AS_FILE}"
        ) from error
