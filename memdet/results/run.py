"""A finished run as one object: manifest, scores, items and images, from a directory or from memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from memdet.errors import UserError
from memdet.results.checks import check_items, check_scores
from memdet.results.conditions import Source, sources_of
from memdet.results.images import Key, read_images
from memdet.results.manifest import DetectorEntry, Manifest
from memdet.results.remote import fetched, place_of
from memdet.results.roc import RocCurve
from memdet.results.schema import ITEMS, SCORES
from memdet.results.scores import MeanScores, RunScores, ScoreTables, SetInRun, sets_of
from memdet.results.store import ITEM_FILE, SCORE_FILE, read_items, require_whole_files, unfinished

if TYPE_CHECKING:
    from os import PathLike

SetKey = tuple[str, int]
"""Sample set and its version."""
# What is made of a run lies in rooms above this one, which read runs. They are named here and loaded when they are
# first asked for, as detectors and commands are.
_VIEWS = {
    "table": "memdet.tables:table_of",
    "compare": "memdet.tables:comparison_of",
    "to_html": "memdet.page:page_of",
    "push_to_hub": "memdet.pushing.push:push_run",
}


class Run:
    """Scores of detectors on sample sets, and all that was told of how they were made.

    Make one with :meth:`load` or :meth:`from_tables`; :func:`memdet.evaluate` returns one. Nothing here imports torch.

    Attributes:
        manifest: Settings and circumstances, with today's labels.
        name: The last two parts of the directory: under ``results`` the suite and the run's name.
        path: Directory; None for a run that lives in memory.

    Example:
        >>> run = Run.load("results/quick/reference")
        >>> run
        Run('quick/reference': 2 sample sets, 12 detectors, 38,918 scores)
        >>> run.roc("wen2024", "tiny-sd-a-verbatim")
        RocCurve(wen2024 on tiny-sd-a-verbatim: AUROC 0.916 [0.865, 0.949], 239 points)
    """

    def __init__(
        self,
        manifest: Manifest,
        scores: RunScores,
        *,
        name: str,
        path: Path | None = None,
        items: pa.Table | None = None,
        images: Mapping[Key, bytes] | None = None,
    ) -> None:
        self.manifest, self.name, self.path = manifest, name, path
        self._scores, self._items, self._images = scores, items, images

    @classmethod
    def load(cls, path: str | PathLike[str], *, checked: bool = True) -> Run:
        """Read a finished run of any schema version so far.

        Args:
            path: Run directory or its address, as ``memdet run --out`` or ``memdet.evaluate(out=...)`` made it.
            checked: Whether checksums must hold, where the run has them, and rows are held against each other and the
                manifest. Leave it out only of what this process wrote, or to list all mistakes and not the first alone.

        Raises:
            UserError: There is no run, it is unfinished or damaged, or a newer memdet wrote it.
        """
        try:
            place = place_of(path, "path")
            directory = fetched(place) if isinstance(place, str) else place.expanduser()
        except (TypeError, RuntimeError):  # no path; or the home of nobody
            raise UserError(f"{path!r} is no run: give a run directory, or a Run") from None
        manifest = Manifest.read(directory, checked=checked)
        if checked:
            require_whole_files(directory, manifest)
        renamed = manifest.renamed
        manifest, scores = manifest.with_labels(renamed), RunScores(directory, renamed)  # which names a damaged table
        if not manifest.finished:
            raise unfinished(directory)
        if checked:
            pieces = scores.pieces(SCORES.names)
            check_scores(pieces, manifest, str(directory / SCORE_FILE), scores.n_rows, joined=False)
        return cls(manifest, scores, name="/".join(directory.resolve().parts[-2:]), path=directory)

    @classmethod
    def of(cls, source: Run | str | PathLike[str]) -> Run:
        """A run itself, or that of a directory, loaded."""
        return source if isinstance(source, Run) else cls.load(source)

    @classmethod
    def from_tables(
        cls,
        manifest: Manifest,
        scores: pa.Table,
        *,
        items: pa.Table | None = None,
        images: Mapping[Key, bytes] | None = None,
        name: str = "run",
    ) -> Run:
        """A run in memory.

        Args:
            manifest: Names the detectors, in the order of the rows.
            scores: With the columns of :data:`~memdet.results.schema.SCORES`.
            items: With the columns of :data:`~memdet.results.schema.ITEMS`.
            images: Generations for the page, as PNG.
            name: Shown in tables.

        Raises:
            UserError: The table has other columns, or its rows contradict each other or the manifest.
        """
        if not isinstance(manifest, Manifest):
            raise UserError(f"`manifest` is {_kind(manifest)}: give a Manifest, which names the detectors")
        if not isinstance(scores, pa.Table):
            given = f"`scores` is {_kind(scores)}: give an Arrow table"
            raise UserError(f"{given}, pa.Table.from_pandas(frame, schema=memdet.results.SCORES, preserve_index=False)")
        if scores.column_names != SCORES.names:
            raise UserError(f"`scores` has other columns: give {', '.join(SCORES.names)}, in this order")
        try:
            held = RunScores(scores)
        except (ValueError, NotImplementedError) as error:  # Arrow's mistakes are among them
            told = str(error).splitlines()[0]
            raise UserError(f"`scores` has a column of another type than memdet.results.SCORES: {told}") from None
        check_scores(held.pieces(SCORES.names), manifest, f"the score table of {name}", held.n_rows, joined=True)
        return cls(manifest, held, name=name, items=items, images=images or {})

    # What it holds

    @property
    def detectors(self) -> list[DetectorEntry]:
        """Detectors and controls, in the order of the rows."""
        return self.manifest.settings.detectors

    @property
    def n_scores(self) -> int:
        """Rows of the score table."""
        return self._scores.n_rows

    @cached_property
    def sets(self) -> dict[SetKey, SetInRun]:
        """What it holds of each version of each sample set, in the order of the rows."""
        return sets_of(self._scores)

    @cached_property
    def sources(self) -> dict[str, Source]:
        """What the items were, by sample set."""
        if self.path is None:
            return sources_of(self.manifest, self._items)
        if (items := read_items(self.path)) is not None:
            check_items(items, self._scores.pieces(ITEMS.names[:2]), str(self.path / ITEM_FILE))
        return sources_of(self.manifest, items)

    @cached_property
    def images(self) -> Mapping[Key, bytes]:
        """Generations that are kept with it, as PNG."""
        return read_images(self.path) if self.path is not None else (self._images or {})

    @property
    def is_scan(self) -> bool:
        """Whether its items have no labels."""
        return any(of_set.unlabelled for of_set in self.sets.values())

    def score_rows(self, columns: Sequence[str] = tuple(SCORES.names)) -> pd.DataFrame:
        """The score table as it is stored: a row for each sample set, detector, item and seed.

        Args:
            columns: Of :data:`~memdet.results.schema.SCORES`.

        Raises:
            UserError: There is no such column.
        """
        if isinstance(columns, str):
            raise UserError(f"`columns` is a text: give a list of names, [{columns!r}]")
        columns = list(columns)
        if unknown := [name for name in columns if name not in SCORES.names]:
            raise UserError(f"scores have no column {unknown[0]!r}: they have {', '.join(SCORES.names)}")
        frame: pd.DataFrame = pa.concat_tables(self._scores.pieces(columns)).to_pandas()
        return frame

    def tables(self, key: SetKey, stratum: str | None = None) -> ScoreTables:
        """Score rows of one sample set by detector.

        Args:
            key: Sample set and version.
            stratum: Of the memorized items that are kept; None keeps all. Other items all stay.

        Raises:
            UserError: The run has no such sample set, or no memorized items of the stratum.
        """
        if not isinstance(key, tuple) or key not in self.sets:
            known = ", ".join(map(repr, self.sets))
            raise UserError(f"{self.name} has no sample set {key!r}: name one with its version, {known}")
        if stratum is not None and stratum not in (strata := self.sets[key].strata):
            known = ", ".join(sorted(strata)) or "none"
            raise UserError(f"{key[0]} has no memorized items of stratum {stratum!r}: its strata are {known}")
        return ScoreTables(self._scores, *key, self.sets[key].rows, stratum)

    @property
    def scores(self) -> pd.DataFrame:
        """Scores, a row for each sample set, item and seed and a column for each detector.

        A score that does not depend on the seed stands in the rows of every seed. What was not scored is NaN. The
        frame is the caller's own.
        """
        return self._scores_by_detector.copy()

    @cached_property
    def _scores_by_detector(self) -> pd.DataFrame:
        rows = self.score_rows(["sample_set", "item_id", "seed", "detector", "score"])
        index = ["sample_set", "item_id", "seed"]
        order = pd.MultiIndex.from_frame(rows[index].drop_duplicates())
        columns = {}
        for entry in self.detectors:
            own = rows[rows["detector"] == entry.label]
            if own.empty:  # a control of the other task
                continue
            if entry.seeded:
                columns[entry.label] = own.set_index(index)["score"].reindex(order)
            else:
                of_item = own.drop_duplicates(index[:2]).set_index(index[:2])["score"]
                columns[entry.label] = pd.Series(of_item.reindex(order.droplevel("seed")).to_numpy(), order)
        return pd.DataFrame(columns, index=order)

    @property
    def items(self) -> pd.DataFrame:
        """Label, cluster, stratum and measured extraction of each item, indexed by sample set and item.

        The frame is the caller's own.
        """
        return self._items_by_id.copy()

    @cached_property
    def _items_by_id(self) -> pd.DataFrame:
        names = ["sample_set", "item_id", "label", "cluster", "stratum", "extraction"]
        return self.score_rows(names).drop_duplicates(names[:2]).set_index(names[:2])

    def roc(self, detector: str, sample_set: str | None = None) -> RocCurve:
        """ROC curve of a detector, from scores averaged over seeds.

        Args:
            detector: Label.
            sample_set: Needed where the run holds several.

        Raises:
            UserError: The run has no such detector or sample set, or the detector has no scores there.
        """
        key = self._one_set(sample_set)
        tables = self.tables(key)
        if detector not in tables:
            raise UserError(f"{self.name} has no detector {detector} on {key[0]}: it has {', '.join(tables)}")
        table = tables[detector]
        entry = self.manifest.detector(detector)
        if (status := status_of(table, is_control=entry is not None and entry.is_control)) != "ok":
            said = "; ".join(self.manifest.messages_of(key[0], detector)) or (ALL_EQUAL if status == CONSTANT else "")
            raise UserError(f"{detector} has no scores on {key[0]}: {status}{': ' if said else ''}{said}")
        means = MeanScores.of(table)
        means.add(detector, table, moved=entry is None or entry.bound_to_seeds)
        return RocCurve.of(detector, key[0], means)

    # What is made of it

    @cached_property
    def table(self) -> Any:
        """The table: a row for each sample set and detector, with intervals, groups and costs.

        ``run.table`` and ``run.table()`` are the table of all items; ``run.table(by_stratum=True)`` is one for each
        stratum of memorized items. See :class:`memdet.tables.ResultTable`.
        """
        return _view("table")(self)

    def compare(self, first: str | Run | None = None, second: str | None = None, *, by_stratum: bool = False) -> Any:
        """Paired tests on the same items and seeds, as a :class:`memdet.tables.ResultTable`.

        Args:
            first: A detector of this run; or another run, with which every detector is compared.
            second: The other detector; every other one if not given. Without ``first`` all pairs are compared.
            by_stratum: Each stratum of memorized items by itself.

        Raises:
            UserError: An unknown detector, or nothing can be compared.
        """
        return _view("compare")(self, first, second, by_stratum=by_stratum)

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """The page: one file with table, plots and items that loads nothing.

        Args:
            path: Where to write it as well.

        Returns:
            The text of the page.
        """
        text: str = _view("to_html")(self, None if path is None else Path(path))
        return text

    def push_to_hub(
        self, repo: str, *, private: bool = False, licence: str | None = None, offline: bool = False
    ) -> str:
        """Upload manifest and scores as a data set of the Hugging Face hub, with a card; all of it or nothing.

        Prompts and images stay here.

        Args:
            repo: ``owner/name``, made if there is none.
            private: Whether only its owner may read it.
            licence: Name of SPDX, of the scores, such as ``CC-BY-4.0``; the card says unknown if not given.
            offline: Open no connection, so refuse.

        Returns:
            Address of the data set.

        Raises:
            UserError: Nobody is logged in, the run is a scan, or the hub refuses.
        """
        address: str = _view("push_to_hub")(self, repo, private=private, licence=licence, offline=offline)
        return address

    def __repr__(self) -> str:
        """Name and size."""
        sets, detectors = len(self.sets), len({label for of_set in self.sets.values() for label in of_set.rows})
        return (
            f"Run({self.name!r}: {sets} sample set{'s' * (sets != 1)}, {detectors} detector{'s' * (detectors != 1)}, "
            f"{self.n_scores:,} scores)"
        )

    def _repr_html_(self) -> str:
        """The table, for notebooks."""
        text: str = self.table._repr_html_()
        return text

    def _one_set(self, name: str | None) -> SetKey:
        found = [key for key in self.sets if name in {None, key[0]}]
        if not self.sets:
            raise UserError(f"{self.name} holds no scores: make the run again")
        if not found:
            raise UserError(f"{self.name} has no sample set {name}: it has {', '.join(key[0] for key in self.sets)}")
        if len(found) > 1:
            raise UserError(
                f"{self.name} holds several sample sets: name one of {', '.join(key[0] for key in self.sets)}"
            )
        return found[0]


CONSTANT = "constant"
ALL_EQUAL = "all items have one score under each seed, so nothing is told apart"


def status_of(table: pd.DataFrame, *, is_control: bool = False) -> str:
    """The worst status among score rows of one detector on one sample set.

    ``constant`` is none of single rows: the detector gave every item of several the same score, which is no result, and
    not an AUROC of one half. A control may: that its text says nothing is what it is there to find out.

    Args:
        table: The rows.
        is_control: Whether they are a control's.
    """
    present = set(table["status"].unique())
    worst = next((status for status in ("error", "nonfinite", "not-applicable") if status in present), "ok")
    if worst != "ok" or is_control or table["item_id"].nunique() < 2:
        return worst
    bounds = table.groupby("seed")["score"].agg(["min", "max"])
    return CONSTANT if bool((bounds["min"] == bounds["max"]).all()) else "ok"


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _view(name: str) -> Any:
    module, _, function = _VIEWS[name].partition(":")
    return getattr(import_module(module), function)
