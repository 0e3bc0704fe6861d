"""Whether the score table of a run holds together: each row by itself, rows with each other, and with the manifest.

A table is looked at in pieces. What is kept of them is one line an item and one bit for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from memdet.errors import UserError
from memdet.results.integrity import MEND
from memdet.results.manifest import Manifest
from memdet.results.schema import ROWS_AT_ONCE, SCORES

STATUSES = ("ok", "error", "nonfinite", "not-applicable")
"""What a row may say of its score."""
KEYS = tuple(name for name in SCORES.names if name not in {"extraction", "label", "score", "forwards", "jvps", "vjps"})
"""Columns in which every row says something."""
COSTS = ("forwards", "jvps", "vjps")
_OF_ITEM = ("cluster", "stratum", "label", "extraction")  # the same in all rows of an item
_ALWAYS_MARKED = 2**24  # places for rows, of which a damaged table may have more than rows
Bools = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Refuse = Callable[[str], NoReturn]


def check_scores(pieces: Iterable[pa.Table], manifest: Manifest, place: str, n_rows: int, *, joined: bool) -> None:
    """Refuse a score table of which no table of results can be made.

    Args:
        pieces: Of the table, with the columns of :data:`~memdet.results.schema.SCORES` and the manifest's labels.
        manifest: Of the run.
        place: What holds the table, as messages name it.
        n_rows: Of the table.
        joined: Whether the rows may be of several runs: then a sample set may have several versions, the manifest need
            not name it, an item's extraction may be known to one run alone, and so may that scores depend on seeds.

    Raises:
        UserError: Names the row, and how to mend it.
    """
    mend = "make the table again" if joined else "the file was changed or is damaged, make the run again"

    def refuse(what: str) -> NoReturn:
        raise UserError(f"{place} is damaged: {what}: {mend}")

    if not n_rows:
        refuse("it holds no scores")
    labels = [entry.label for entry in manifest.settings.detectors]
    if twice := [label for label in labels if labels.count(label) > 1]:
        refuse(f"the run names detector {twice[0]} more than once")
    sets: dict[tuple[str, int], _SetCheck] = {}
    for piece in pieces:
        for start in range(0, len(piece), ROWS_AT_ONCE):
            rows = piece.slice(start, ROWS_AT_ONCE).combine_chunks()
            _check_text(rows, refuse)
            check_keys(rows, refuse)
            _check_values(rows, refuse)
            for (name, version), part in _by_set(rows):
                if (name, version) not in sets:
                    if not joined:
                        _check_version(name, version, [key[1] for key in sets if key[0] == name], manifest, refuse)
                    sets[name, version] = _SetCheck(f"{name} v{version}", manifest, n_rows, refuse, joined)
                sets[name, version].add(part)
    for of_set in sets.values():
        of_set.finish()
    if not joined:
        _check_all_there(manifest, {name: of_set for (name, _), of_set in sets.items()}, refuse)


def check_items(items: pa.Table, pieces: Iterable[pa.Table], place: str) -> None:
    """Refuse a table of items that lacks one of which there are scores.

    Args:
        items: With the columns of :data:`~memdet.results.schema.ITEMS`.
        pieces: Of the score table, ``sample_set`` and ``item_id``.
        place: What holds the items, as the message names it.

    Raises:
        UserError: Names the item.
    """
    keys = ["sample_set", "item_id"]
    known = items.select(keys)
    for piece in pieces:
        scored = piece.group_by(keys, use_threads=False).aggregate([])
        unknown = scored.join(known, keys, join_type="left anti", use_threads=False)
        if len(unknown):
            name, item = (unknown[key][0].as_py() for key in keys)
            raise UserError(f"{place} is damaged: it lacks item {item} of {name}, which has scores: {MEND}")


def _check_all_there(manifest: Manifest, sets: Mapping[str, _SetCheck], refuse: Refuse) -> None:
    """Refuse a table without rows of what the manifest names, or with more seeds than it states."""
    labels = {label for of_set in sets.values() for label, _ in of_set.groups}
    for entry in manifest.settings.sample_sets:
        if entry.id not in sets:
            refuse(f"it has no rows of sample set {entry.id}, which run.json names")
        seeds = len({seed for _, seed in sets[entry.id].groups})
        if "seeds" in entry.model_fields_set and seeds > entry.seeds:
            refuse(f"it has {seeds} seeds of {entry.id}, run.json says {entry.seeds}")
    for detector in manifest.settings.detectors:
        if detector.label not in labels and not detector.is_control:  # one of them may be of the other task
            refuse(f"it has no rows of detector {detector.label}, which run.json names")


def _check_text(rows: pa.Table, refuse: Refuse) -> None:
    """Refuse text that is none: bytes that are not UTF-8."""
    try:
        rows.validate(full=True)
    except pa.ArrowInvalid as error:
        refuse((str(error).splitlines() or ["it is not valid"])[0])


def check_keys(rows: pa.Table, refuse: Refuse) -> None:
    """Refuse rows that do not say what they are about."""
    for name in KEYS:
        if rows[name].null_count:
            index = int(np.argmax(rows[name].is_null().to_numpy()))
            refuse(f"{name} is missing in the row of {_named(rows, index)}")


def _check_values(rows: pa.Table, refuse: Refuse) -> None:
    """Refuse labels, shares, statuses, scores and costs that no run has."""
    status = _encoded(rows, "status")
    for code, name in enumerate(status.dictionary.to_pylist()):
        if name not in STATUSES:
            index = int(np.argmax(status.indices.to_numpy() == code))
            refuse(f"status {name!r} of {_named(rows, index)} is none of {', '.join(STATUSES)}")
    ok = np.array([name == "ok" for name in status.dictionary.to_pylist()], dtype=bool)[status.indices.to_numpy()]

    def wrong(bad: Bools, name: str, why: str) -> None:
        if bad.any():
            index = int(bad.argmax())
            refuse(f"{name} of {_named(rows, index)} is {_shown(rows[name][index])}, {why}")

    finite = np.isfinite(_floats(rows, "score"))
    wrong(ok & ~finite, "score", "though its status is ok")
    wrong(finite & ~ok, "score", "though its status is not ok")
    label = _floats(rows, "label")
    wrong(~((label == 0) | (label == 1) | np.isnan(label)), "label", "not 0 or 1")
    extraction = _floats(rows, "extraction")
    wrong((extraction < 0) | (extraction > 1), "extraction", "not between 0 and 1")
    for name in COSTS:
        cost = _floats(rows, name)
        wrong(~(np.isfinite(cost) & (cost >= 0)), name, "not a number of evaluations")


def _check_version(name: str, version: int, others: list[int], manifest: Manifest, refuse: Refuse) -> None:
    """Refuse a sample set that is there in two versions, or not in that of the manifest."""
    stated = manifest.sample_set(name)
    if others:
        refuse(f"sample set {name} is there in version {others[0]} and in version {version}")
    if stated is None:
        refuse(f"it has rows of sample set {name}, which run.json does not name")
    if stated.version != version:
        refuse(f"it has rows of {name} v{version}, run.json says v{stated.version}")


def _by_set(rows: pa.Table) -> Iterator[tuple[tuple[str, int], pa.Table]]:
    """Rows of each version of each sample set, in the order in which they come first."""
    names, versions = _encoded(rows, "sample_set"), rows["sample_set_version"].to_numpy()
    known, numbers = np.unique(versions, return_inverse=True) if np.ptp(versions) else (versions[:1], 0)
    codes = names.indices.to_numpy().astype(np.int64) * len(known) + numbers
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    together = len(set(codes[starts].tolist())) == len(starts)
    for code, start, end in zip(
        dict.fromkeys(codes[starts].tolist()), starts, np.append(starts[1:], len(codes)), strict=False
    ):
        part = rows.slice(start, end - start) if together else rows.take(np.flatnonzero(codes == code))
        yield (names.dictionary[code // len(known)].as_py(), int(known[code % len(known)])), part.combine_chunks()


class _SetCheck:
    """One version of a sample set: every detector and seed has every item once, and rows of an item agree.

    Args:
        name: As messages name it.
        manifest: Names the detectors.
        n_rows: Of the whole table.
        refuse: Says what is wrong.
        joined: As for :func:`check_scores`.
    """

    def __init__(self, name: str, manifest: Manifest, n_rows: int, refuse: Refuse, joined: bool) -> None:
        self._name, self._refuse, self._joined = name, refuse, joined
        self._seeded = {entry.label: entry.seeded or joined for entry in manifest.settings.detectors}
        self._versions = {
            entry.label: entry.version
            for entry in manifest.settings.detectors
            if "version" in entry.model_fields_set and not joined
        }
        self._marks_at_most = max(n_rows, _ALWAYS_MARKED)
        self._items = SCORES.empty_table().select(["item_id", *_OF_ITEM])  # a line each
        self.groups: dict[tuple[str, int], int] = {}  # a number for each detector and seed
        self._marks: Bools = np.zeros((0, 0), dtype=bool)  # [groups, items]: rows that are there
        self._n_rows = 0

    def add(self, rows: pa.Table) -> None:
        """Take rows in; they are in one piece."""
        items, groups = self._items_of(rows), self._groups_of(rows)
        self._check_items(rows, items)
        shape = len(self.groups), len(self._items)
        if shape[0] * shape[1] > self._marks_at_most:  # a complete table has a row for each place
            self._refuse(f"{self._name} does not have every item for each of its {shape[0]} detectors and seeds")
        more = [(0, new - old) for new, old in zip(shape, self._marks.shape, strict=True)]
        self._marks = np.pad(self._marks, more)
        marks, places = self._marks.reshape(-1), groups * shape[1] + items
        before = marks[places]
        marks[places] = True
        self._n_rows += len(rows)
        if np.count_nonzero(marks) == self._n_rows:
            return
        first = np.zeros(len(rows), dtype=bool)
        first[np.unique(places, return_index=True)[1]] = True
        self._refuse(f"the row of {_named(rows, int(np.argmax(before | ~first)))} is there more than once")

    def finish(self) -> None:
        """Look at what only all rows tell."""
        names = list(self.groups)
        if not self._marks.all():
            group, item = divmod(int(np.argmin(self._marks)), len(self._items))
            label, seed = names[group]
            name = self._items["item_id"][item].as_py()
            self._refuse(
                f"{self._name}, {label} has no row of item {name}, seed {seed}, though the sample set has the item"
            )
        first: dict[str, int] = {}
        for label, seed in names:
            other = first.setdefault(label, seed)
            if other != seed and not self._seeded[label]:
                self._refuse(
                    f"{self._name}, {label} has rows of seeds {other} and {seed}, though its scores do not depend on it"
                )
        unlabelled = np.isnan(_floats(self._items, "label"))
        if unlabelled.any() and not unlabelled.all():
            name = self._items["item_id"][int(unlabelled.argmax())].as_py()
            self._refuse(f"{self._name}, item {name} has no label, though other items have one")

    def _items_of(self, rows: pa.Table) -> Numbers:
        """The number of each row's item; what rows say first of an item is kept."""
        ids = _encoded(rows, "item_id")
        codes, n_known = ids.indices.to_numpy(), len(self._items)
        known = pc.index_in(ids.dictionary, value_set=self._items["item_id"].combine_chunks())
        new = known.is_null().to_numpy(zero_copy_only=False)
        numbers = known.fill_null(-1).to_numpy().astype(np.int64)
        if new.any():
            numbers[new] = n_known + np.arange(new.sum())
            first = np.zeros(len(new), dtype=np.int64)
            first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last that is written stays
            added = rows.select(self._items.column_names).take(first[new])
            self._items = pa.concat_tables([self._items, added]).combine_chunks()
        of_rows: Numbers = numbers[codes]
        return of_rows

    def _groups_of(self, rows: pa.Table) -> Numbers:
        """The number of each row's detector and seed."""
        detectors, seeds = _encoded(rows, "detector"), rows["seed"].to_numpy()
        labels, codes = detectors.dictionary.to_pylist(), detectors.indices.to_numpy()
        if unknown := [label for label in labels if label not in self._seeded]:
            self._refuse(f"it has rows of detector {unknown[0]} on {self._name}, which the run does not name")
        self._check_versions(rows, labels, codes)
        known, numbers = np.unique(seeds, return_inverse=True) if np.ptp(seeds) else (seeds[:1], 0)
        pairs = codes.astype(np.int64) * len(known) + numbers
        of_pair = np.zeros(len(labels) * len(known), dtype=np.int64)
        for pair in np.flatnonzero(np.bincount(pairs)).tolist():
            key = labels[pair // len(known)], int(known[pair % len(known)])
            of_pair[pair] = self.groups.setdefault(key, len(self.groups))
        of_rows: Numbers = of_pair[pairs]
        return of_rows

    def _check_versions(self, rows: pa.Table, labels: list[str], codes: Numbers) -> None:
        """Refuse rows of another version of a detector than the manifest's."""
        known = np.array([self._versions.get(label, -1) for label in labels], np.int64)[codes]
        other = (known >= 0) & (rows["detector_version"].to_numpy() != known)
        if other.any():
            index = int(other.argmax())
            label, version = rows["detector"][index].as_py(), rows["detector_version"][index].as_py()
            self._refuse(f"{self._name} has rows of {label} in version {version}, run.json says {known[index]}")

    def _check_items(self, rows: pa.Table, items: Numbers) -> None:
        """Refuse rows that say something else of an item than its first row."""
        for name in _OF_ITEM:
            if pa.types.is_string(rows.schema.field(name).type):
                differ = pc.not_equal(self._items[name].take(pa.array(items)), rows[name]).to_numpy()
            else:
                first, here = _floats(self._items, name)[items], _floats(rows, name)
                unknown = np.isnan(first), np.isnan(here)
                silent = unknown[0] | unknown[1] if self._joined and name == "extraction" else unknown[0] & unknown[1]
                differ = (first != here) & ~silent
            if differ.any():
                index = int(differ.argmax())
                self._refuse(
                    f"{name} of {_named(rows, index)} is {_shown(rows[name][index])}, but "
                    f"{_shown(self._items[name][int(items[index])])} in another row of the item"
                )


def _encoded(rows: pa.Table, name: str) -> Any:
    """A column in one piece, as numbers and what they stand for."""
    column = rows[name].combine_chunks()
    return (column.chunk(0) if isinstance(column, pa.ChunkedArray) else column).dictionary_encode()


def _floats(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """A column of numbers; NaN where there is none."""
    values: NDArray[np.float64] = rows[name].to_numpy().astype(np.float64, copy=False)
    return values


def _named(rows: pa.Table, index: int) -> str:
    """A row as messages name it; what is missing is a question mark."""
    row = {
        name: _shown(rows[name][index], "?")
        for name in ("sample_set", "sample_set_version", "detector", "item_id", "seed")
    }
    return "{sample_set} v{sample_set_version}, {detector}, item {item_id}, seed {seed}".format(**row)


def _shown(value: pa.Scalar, missing: str = "missing") -> str:
    return missing if value.as_py() is None else str(value.as_py())
