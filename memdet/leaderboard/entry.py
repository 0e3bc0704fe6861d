"""An entry of the leaderboard: the files of a run, held against what this installation knows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from memdet.detectors import Detector, detector_classes, make_detector
from memdet.errors import UserError
from memdet.results.checks import STATUSES, check_keys
from memdet.results.manifest import DetectorEntry, Manifest, SampleSetEntry
from memdet.results.run import Run
from memdet.results.schema import SCHEMA_VERSION, SCORES
from memdet.results.store import ARROW_ERRORS
from memdet.samplesets import SampleSet, load_sample_set, sample_set_ids
from memdet.testing.check_detector import Finding

SHOWN = 5  # mistakes of one kind
AGAIN = "run the entry again"


# What a manifest must state of itself, beside what it needs to be read at all.
_STATED = {
    "schema_version",
    "settings",
    "command",
    "started",
    "packages",
    "platform",
    "seconds",
    "messages",
    "finished",
}
_STATED_OF_SETS = {
    "id",
    "version",
    "content_hash",
    "model_hashes",
    "dtype",
    "steps",
    "guidance",
    "noise",
    "seeds",
}
_STATED_OF_DETECTORS = {"label", "version", "access", "seeded"}


class Entry:
    """A run that is to be checked, and what this installation knows of it.

    Attributes:
        path: Run directory.
        manifest, scores: Its two files.
        sample_sets: Those that this installation has in the same version, by id.
        detectors: Those that this installation can make, by label.
        unknown: Why it cannot make the others, by label.

    Raises:
        UserError: A file is missing or not as memdet writes it, or a plugin cannot be loaded.
    """

    def __init__(self, path: Path, plugins: Sequence[Path] = ()) -> None:
        self.path = path
        self.manifest = _read_manifest(path)
        _check_columns(path)
        self.scores = _read_scores(path)
        self.classes = detector_classes(plugins)
        known = [s for s in self.manifest.settings.sample_sets if s.id in sample_set_ids()]
        loaded = [load_sample_set(s.id) for s in known]
        self.sample_sets: dict[str, SampleSet] = {
            of_set.id: of_set for of_set, s in zip(loaded, known, strict=True) if of_set.version == s.version
        }
        self.detectors: dict[str, Detector] = {}
        self.unknown: dict[str, str] = {}
        for entry in self.manifest.settings.detectors:
            try:
                self.detectors[entry.label] = make_detector(entry.label, self.classes)
            except UserError as error:
                self.unknown[entry.label] = str(error)

    def tables(self) -> Iterator[tuple[SampleSetEntry, SampleSet, DetectorEntry, pd.DataFrame]]:
        """Score rows of each known sample set and each detector that should have been run on it."""
        tasks = {cls.info.name: cls.info.task for cls in self.classes.values()}
        found = {key: table for key, table in self.scores.groupby(["sample_set", "detector"], sort=False)}
        empty = self.scores.iloc[:0]
        for settings in self.manifest.settings.sample_sets:
            of_set = self.sample_sets.get(settings.id)
            if of_set is None:
                continue
            for detector in self.manifest.settings.detectors:
                task = tasks.get(detector.label.partition("@")[0], "any")
                if not detector.is_control or task in {"any", of_set.task}:
                    yield settings, of_set, detector, found.get((settings.id, detector.label), empty)


def check_files(entry: Entry) -> list[Finding]:
    """All that needs no model: a finding for each check that passed and for each mistake."""
    checks: dict[str, tuple[Callable[[Entry], Iterator[str]], str]] = {
        "sample sets": (_sample_sets, "versions, content hashes and protocols are those of this memdet"),
        "detectors": (_detectors, "versions and access are those of this memdet"),
        "controls": (_controls, "all are there"),
        "items": (_items, "every test item once a detector and seed"),
        "labels": (_labels, "labels, clusters, strata and extraction are the sample sets'"),
        "scores": (_scores, "each is finite or says why not"),
    }
    return [
        finding for name, (check, good) in checks.items() for finding in findings_of(name, list(check(entry)), good)
    ]


def findings_of(check: str, mistakes: Sequence[str], good: str) -> list[Finding]:
    """A line a mistake, the first few; or that all is well."""
    if not mistakes:
        return [Finding(check, "passed", good)]
    shown = [Finding(check, "failed", mistake) for mistake in mistakes[:SHOWN]]
    more = len(mistakes) - len(shown)
    return shown + ([Finding(check, "failed", f"{more} more of this kind")] if more else [])


def _read_manifest(path: Path) -> Manifest:
    """The manifest, if it is as this memdet writes it."""
    file, manifest = path / "run.json", Manifest.read(path, checked=False)
    if manifest.schema_version != SCHEMA_VERSION:
        raise UserError(
            f"{file}: schema version {manifest.schema_version}, this memdet writes {SCHEMA_VERSION}: {AGAIN}"
        )
    missing = [
        *_missing("", manifest, _STATED),
        *_missing("settings.", manifest.settings, {"sample_sets", "detectors"}),
    ]
    for index, of_set in enumerate(manifest.settings.sample_sets):
        missing += _missing(f"settings.sample_sets.{index}.", of_set, _STATED_OF_SETS)
    for index, detector in enumerate(manifest.settings.detectors):
        missing += _missing(f"settings.detectors.{index}.", detector, _STATED_OF_DETECTORS)
    missing += [f"settings.{name}" for name in ("sample_sets", "detectors") if not getattr(manifest.settings, name)]
    if missing:
        raise UserError(f"{file}: field {missing[0]}: Field required: {AGAIN}, the file is not as memdet wrote it")
    if not manifest.finished:
        raise UserError(f"{file}: the run is unfinished: resume it with the command in its run.json")
    return manifest


def _missing(where: str, part: BaseModel, stated: set[str]) -> list[str]:
    return [where + name for name in sorted(stated - part.model_fields_set)]


def _check_columns(path: Path) -> None:
    file = path / "scores.parquet"
    try:
        stored = pq.read_schema(file).remove_metadata()
    except ARROW_ERRORS:
        stored = SCORES  # the next reader says what is wrong
    if not stored.equals(SCORES):
        wrong = [str(field) for field in stored if field not in list(SCORES)]
        missing = [field.name for field in SCORES if field.name not in stored.names]
        what = [f"unexpected {', '.join(wrong)}"] * bool(wrong) + [f"missing {', '.join(missing)}"] * bool(missing)
        raise UserError(f"{file}: columns are not those of memdet ({'; '.join(what) or 'another order'}): {AGAIN}")


def _read_scores(path: Path) -> pd.DataFrame:
    """The rows, whatever they say: the checks tell more than the first mistake. But each must say what it is about."""

    def refuse(what: str) -> NoReturn:
        raise UserError(f"{path / 'scores.parquet'}: {what}: {AGAIN}")

    rows = Run.load(path, checked=False).score_rows()
    check_keys(pa.Table.from_pandas(rows, schema=SCORES, preserve_index=False), refuse)
    return rows


def _sample_sets(entry: Entry) -> Iterator[str]:
    for settings in entry.manifest.settings.sample_sets:
        name = f"{settings.id} v{settings.version}"
        of_set = entry.sample_sets.get(settings.id)
        if settings.id not in sample_set_ids():
            yield f"{name} is no sample set of memdet: submit runs of the sets in `memdet list sets`"
        elif of_set is None:
            yield f"{name} is not the version of this memdet, v{load_sample_set(settings.id).version}: {AGAIN}"
        elif other := list(_other_protocol(name, settings, of_set)):  # whose content hash is another for it
            yield from other
        elif settings.content_hash != of_set.content_hash:
            yield (
                f"{name}: content hash {settings.content_hash[:12]}... is not that of this memdet, "
                f"{of_set.content_hash[:12]}...: restore the spec and data, and {AGAIN}"
            )
        else:
            if settings.dtype not in {"float32", "float64"}:
                yield f"{name} was run in {settings.dtype}: {AGAIN} with --dtype float32"
    for pair in entry.scores.groupby(["sample_set", "sample_set_version"]).size().index:
        if pair not in {(s.id, s.version) for s in entry.manifest.settings.sample_sets}:
            yield f"scores.parquet has rows of {pair[0]} v{pair[1]}, which run.json does not name: {AGAIN}"


def _other_protocol(name: str, settings: SampleSetEntry, of_set: SampleSet) -> Iterator[str]:
    for field in ("steps", "guidance", "noise"):
        if getattr(settings, field) != getattr(of_set.protocol, field):
            protocol = getattr(of_set.protocol, field)
            yield f"{name}: {field} is {getattr(settings, field)}, its protocol says {protocol}: {AGAIN}"


def _detectors(entry: Entry) -> Iterator[str]:
    for settings in entry.manifest.settings.detectors:
        if settings.label in entry.unknown:
            yield f"{entry.unknown[settings.label]}; give its file with --plugin FILE.py"
            continue
        info = entry.detectors[settings.label].info
        for field in ("version", "access", "seeded"):
            if getattr(settings, field) != getattr(info, field):
                here = getattr(info, field)
                yield f"{settings.label}: {field} is {getattr(settings, field)}, here it is {here}: {AGAIN}"
    versions = {settings.label: settings.version for settings in entry.manifest.settings.detectors}
    for label, version in entry.scores.groupby(["detector", "detector_version"]).size().index:
        if label not in versions:
            yield f"scores.parquet has rows of {label}, which run.json does not name: {AGAIN}"
        elif version != versions[label]:
            yield f"scores.parquet has rows of {label} in version {version}, run.json says {versions[label]}: {AGAIN}"
    if all(settings.is_control for settings in entry.manifest.settings.detectors):
        yield "the entry holds controls alone: add --detector"


def _controls(entry: Entry) -> Iterator[str]:
    present = {settings.label for settings in entry.manifest.settings.detectors}
    tasks = {"any"} | {of_set.task for of_set in entry.sample_sets.values()}
    for name, cls in entry.classes.items():
        if cls.info.is_control and cls.info.task in tasks and name not in present:
            yield f"control {name} is missing: {AGAIN} with this memdet, which adds all controls"


def _items(entry: Entry) -> Iterator[str]:
    for settings, of_set, detector, table in entry.tables():
        where = f"{settings.id}, {detector.label}"
        tested = of_set.items.loc[of_set.items["split"] == "test", "item_id"]
        seeds = range(settings.seeds if detector.seeded else 1)
        expected = {(seed, item) for seed in seeds for item in tested}
        counts = Counter(zip(table["seed"], table["item_id"], strict=True))
        for found, what in (
            (expected - set(counts), "missing"),
            (set(counts) - expected, "not in the sample set's test split or seeds"),
            ({key for key, count in counts.items() if count > 1}, "there more than once"),
        ):
            if found:
                seed, item = min(found)
                yield f"{where}: {len(found)} of {len(expected)} rows are {what} (item {item}, seed {seed}): {AGAIN}"


def _labels(entry: Entry) -> Iterator[str]:
    columns = ["label", "cluster", "stratum", "extraction"]
    for settings, of_set, detector, table in entry.tables():
        truth = of_set.items.set_index("item_id")[columns]
        known = table[table["item_id"].isin(truth.index)]
        expected = truth.loc[known["item_id"]]
        for column in columns:
            stored, right = known[column].to_numpy(), expected[column].to_numpy()
            wrong = (stored != right) & ~(pd.isna(stored) & pd.isna(right))
            if wrong.any():
                first = int(wrong.argmax())
                yield (
                    f"{settings.id}, {detector.label}: {column} of item {known['item_id'].iloc[first]} is "
                    f"{stored[first]}, the sample set says {right[first]} ({int(wrong.sum())} rows): {AGAIN}"
                )


def _scores(entry: Entry) -> Iterator[str]:
    for settings, _, detector, table in entry.tables():
        where = f"{settings.id}, {detector.label}"
        said = "; ".join(entry.manifest.messages_of(settings.id, detector.label))
        statuses = set(table["status"])
        finite = table["score"].map(math.isfinite)
        costs = table[["forwards", "jvps", "vjps"]].to_numpy()
        if statuses - set(STATUSES):
            unknown = min(statuses - set(STATUSES))
            yield f"{where}: status {unknown!r} is none of {', '.join(STATUSES)}: {AGAIN}"
        elif statuses & {"error", "nonfinite"}:
            bad = min(statuses & {"error", "nonfinite"})
            yield f"{where}: {(table['status'] == bad).sum()} rows are {bad} ({said}): mend the detector, {AGAIN}"
        elif "not-applicable" in statuses and (len(statuses) > 1 or not said):
            yield f"{where}: not-applicable is said of a whole set and with a reason: {AGAIN}"
        elif (finite != (table["status"] == "ok")).any():
            item = table.loc[finite != (table["status"] == "ok"), "item_id"].iloc[0]
            yield f"{where}: the score of item {item} does not fit its status: {AGAIN}"
        elif not (costs >= 0).all():
            yield f"{where}: a cost is negative or not a number: {AGAIN}"
