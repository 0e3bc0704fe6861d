"""A sample set: items with a label, the model that they are about, and the protocol."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from memdet.errors import UserError
from memdet.io_utils import printable
from memdet.samplesets import frames
from memdet.samplesets.evidence import with_joined_clusters
from memdet.samplesets.fetch import Fetcher
from memdet.samplesets.items import COLUMNS, Item, content_hash, items_frame, rows_sha256
from memdet.samplesets.names import advice, check_id, id_of_file, model_name
from memdet.samplesets.samples_file import read_samples
from memdet.samplesets.spec import Protocol, SampleSetSpec

if TYPE_CHECKING:
    import datasets
    import pandas as pd

_SHOWN = 5


@dataclass(frozen=True, eq=False, repr=False)
class SampleSet:
    """Items with a label for one model, and the protocol under which they are scored.

    It has a length and gives its items one after the other. A set whose items or protocol are replaced
    (``dataclasses.replace``) has another content hash; items that are changed in place are not noticed.

    Attributes:
        id, version, title, task: From the spec; of a samples file its name, 1, its name and ``prompt``.
        model: What :func:`memdet.load_model` takes; the first one, of a set that spans models; None where the set
            names none.
        protocol: Steps, guidance, seeds and noise.
        items: A row an item in the order of the file: ``item_id, condition, model, label`` (1 memorized, 0 not;
            None in a scan), ``cluster`` (family of near-duplicates; one prompt or image is in one cluster, whatever was
            stated, see :mod:`memdet.samplesets.evidence`), ``stratum, split`` (``dev`` or ``test``), ``extraction``
            (measured share of copies, NaN where it is not known), ``image`` (float32 ``[channels, height, width]`` in
            [-1, 1]; None in the task ``prompt``).
        has_prompts: Whether the conditions are text.
        content_hash: SHA-256 over the spec and the data file.
        spec: None for a samples file or a data frame.

    Raises:
        UserError: An id that cannot name the files of a run.

    Example:
        >>> import pandas as pd
        >>> mine = SampleSet.from_pandas(pd.DataFrame({"prompt": ["a cat", "a dog"], "label": [1, 0]}), id="mine")
        >>> mine
        SampleSet('mine', version 1: 2 items, 1 memorized, 1 not; test 2; no model; 50 steps, guidance 7.5, 1 seed)
        >>> [(item.id, item.label) for item in mine]
        [('item-00001', 1), ('item-00002', 0)]
    """

    id: str
    version: int
    title: str
    task: str
    model: str | None
    protocol: Protocol
    items: pd.DataFrame
    has_prompts: bool
    content_hash: str
    spec: SampleSetSpec | None
    _hashed: tuple[Any, ...] | None = field(default=None, kw_only=True)
    """What the content hash is that of; :func:`dataclasses.replace` hands it on."""

    def __post_init__(self) -> None:
        check_id(self.id)
        items = with_joined_clusters(self.items, has_prompts=self.has_prompts, noise=self.protocol.noise)
        object.__setattr__(self, "items", items)
        held = (self.items, self.protocol, self.has_prompts, self.task)
        if self._hashed is not None and any(a is not b for a, b in zip(held, self._hashed, strict=True)):
            before, now = _digest(*self._hashed), _digest(*held)
            if now != before:
                object.__setattr__(self, "content_hash", content_hash({"instead of": self.content_hash}, now))
        object.__setattr__(self, "_hashed", held)

    @classmethod
    def from_pandas(
        cls,
        frame: pd.DataFrame,
        *,
        model: str | Path | None = None,
        id: str = "data-frame",
        noise: str = "shared",
        steps: int = 50,
        guidance: float = 7.5,
        seeds: int = 1,
    ) -> SampleSet:
        """Make a sample set of a data frame, which is checked as strictly as a file.

        Args:
            frame: A row an item. Columns: ``prompt`` (or ``condition``, where it is no text) and ``label`` (or
                ``memorized``; 1 or 0) must be there. ``item_id`` (or ``id``), ``cluster``, ``stratum``, ``split``
                (``dev`` or ``test``), ``model``, ``extraction`` (0 to 1, or NaN) and ``image`` (float ``[channels,
                height, width]`` in [-1, 1], or a PNG) may be.
            model: The model that has or has not memorized them, if the frame has no such column; None where it is
                chosen later. Beside a column it names that of its models which the set is called after.
            id: Name of the set; files of a run are named after it.
            noise: ``shared`` or ``per-item``.
            steps: Of the DDIM scheduler.
            guidance: Classifier-free guidance.
            seeds: Number of noise seeds.

        Raises:
            UserError: Bad setting, column or value; names the row, from 1.
        """
        check_id(id)
        protocol = _protocol(id, noise=noise, steps=steps, guidance=guidance, seeds=seeds)
        name = model_name(model, optional=True)
        table, has_prompts = frames.read_frame(frame, name)
        columns = table.columns
        hashed = [name for name in columns if name != "model" or "model" in frame]
        rows = zip(*(columns[name] for name in sorted(hashed)), strict=True)
        settings = {"protocol": protocol.model_dump(mode="json"), "has_prompts": has_prompts}
        items = with_joined_clusters(
            items_frame(columns), has_prompts=has_prompts, noise=noise, stated="cluster" in frame
        )
        return cls(
            id=id,
            version=1,
            title=id,
            task="image" if columns["image"][0] is not None else "prompt",
            model=name or columns["model"][0] or None,
            protocol=protocol,
            items=items,
            has_prompts=has_prompts,
            content_hash=content_hash(settings, rows_sha256(rows)),
            spec=None,
        )

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        model: str | Path,
        noise: str = "shared",
        steps: int = 50,
        guidance: float = 7.5,
        seeds: int = 1,
        column: str | None = None,
        fetcher: Fetcher | None = None,
    ) -> SampleSet:
        """Load a user's own items: prompts with labels, ``{"prompt": "...", "memorized": 1}`` in JSON Lines say.

        Args:
            path: The file or data set of the hub, after which the set is named; ``id``, ``cluster`` and ``stratum`` are
                optional columns or keys. :func:`~memdet.samplesets.prompt_table.read_prompt_table` says what is read.
            model: The model that has or has not memorized them.
            noise: ``shared`` or ``per-item``.
            steps: Of the DDIM scheduler.
            guidance: Classifier-free guidance.
            seeds: Number of noise seeds.
            column: Of the prompts; found by its usual names if not given.
            fetcher: Where data sets of the hub may come from; the hub and its cache if not given.

        Raises:
            UserError: Bad setting, no labels, or a line with a mistake.
        """
        if not isinstance(path, str | os.PathLike):
            raise UserError(f"a samples file is named by a path, not {type(path).__name__}; {advice(path)}")
        path = Path(path).expanduser()
        protocol = _protocol(str(path), noise=noise, steps=steps, guidance=guidance, seeds=seeds)
        name = str(model_name(model))
        table, sha256 = read_samples(path, name, column, fetcher)
        described = {"protocol": protocol.model_dump(mode="json")}
        return cls(
            id=id_of_file(path.stem),
            version=1,
            title=path.name,
            task="prompt",
            model=name,
            protocol=protocol,
            items=items_frame(table.columns),
            has_prompts=True,
            content_hash=content_hash(described | ({"column": column} if column else {}), sha256),
            spec=None,
        )

    from_jsonl = from_file
    """The name that :meth:`from_file` had when it read JSON Lines alone."""

    def with_model(self, model: str | Path) -> SampleSet:
        """The same items, all of them about another model; the content hash stays.

        A set that spans models may then hold one prompt under both labels, which no run takes.

        Raises:
            UserError: No name of a model.
        """
        name = model_name(model)
        items = self.items.assign(model=name)
        return dataclasses.replace(self, model=name, items=items, _hashed=None)

    def with_protocol(self, *, steps: int | None = None, guidance: float | None = None) -> SampleSet:
        """The same items under another protocol; the content hash changes with it, so that no table mixes the two.

        Args:
            steps: Of the DDIM scheduler; None leaves them as they are.
            guidance: Classifier-free guidance; None leaves it as it is.

        Raises:
            UserError: A setting that is none.

        Example:
            >>> from memdet.samplesets import load_sample_set
            >>> load_sample_set("mixture-2d").with_protocol(guidance=3).protocol.guidance
            3.0
        """
        settings = self.protocol.model_dump(mode="json")
        given = {"steps": steps, "guidance": guidance}
        changed = _protocol(self.id, **settings | {name: value for name, value in given.items() if value is not None})
        return self if changed == self.protocol else dataclasses.replace(self, protocol=changed)

    def to_pandas(self) -> pd.DataFrame:
        """The items as a data frame of their own, which :meth:`from_pandas` takes.

        Returns:
            A row an item: ``item_id``, ``prompt`` (``condition`` where it is no text), ``label``, ``cluster``,
            ``stratum``, ``split``; ``model``, ``extraction`` and ``image`` where they are known.
        """
        return frames.to_pandas(self.items, self.has_prompts)

    def to_datasets(self) -> datasets.DatasetDict:
        """The items as datasets of the library ``datasets``, one a split, with the columns of :meth:`to_pandas`."""
        return frames.to_datasets(self.to_pandas())

    def push_to_hub(
        self, repo: str, *, private: bool = False, licence: str | None = None, offline: bool = False
    ) -> str:
        """Upload the set as a data set of the Hugging Face hub, with a card; all of it or nothing.

        Args:
            repo: ``owner/name``, made if there is none.
            private: Whether only its owner may read it.
            licence: Name of SPDX, of a set without a spec, such as ``CC-BY-4.0``; a spec states its own.
            offline: Open no connection, so refuse.

        Returns:
            Address of the data set.

        Raises:
            UserError: Nobody is logged in, the licence of the set lets nobody else publish it, or the hub refuses.
        """
        push = import_module("memdet.pushing.push").push_sample_set  # a room above this one
        address: str = push(self, repo, private=private, licence=licence, offline=offline)
        return address

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        names = ["item_id", "condition", "label", "cluster", "stratum", "split", "model"]
        for item, condition, label, cluster, stratum, split, model in zip(
            *(self.items[name] for name in names), strict=True
        ):
            yield Item(item, condition, None if label is None else int(label), cluster, stratum, split, model or None)

    def __repr__(self) -> str:
        return f"SampleSet({self.id!r}, version {self.version}: {self._facts()})"

    def _repr_html_(self) -> str:
        """For notebooks: the facts and the first items."""
        shown = [name for name in self.items if name not in ("image", "extraction")]
        head = self.items.head(_SHOWN)[shown].map(lambda value: printable(str(value)))
        more = f"<p>and {len(self) - _SHOWN} more</p>" if len(self) > _SHOWN else ""
        title = escape(printable(f"{self.id} v{self.version}"))
        return f"<p><b>{title}</b>: {escape(printable(self._facts()))}</p>{head.to_html(index=False)}{more}"

    def _facts(self) -> str:
        memorized, others = (int((self.items["label"] == label).sum()) for label in (1, 0))
        labels = f", {memorized} memorized, {others} not" if memorized or others else ", no labels"
        splits = ", ".join(f"{split} {n}" for split, n in sorted(self.items["split"].value_counts().items()))
        models = self.items["model"].nunique()
        model = f"{models} models" if models > 1 else f"model {self.model}" if self.model else "no model"
        p = self.protocol
        seeds = f"{p.seeds} seed" + ("s" if p.seeds != 1 else "")
        protocol = f"{p.steps} steps, guidance {p.guidance:g}, {seeds}"
        return f"{len(self)} items{labels}; {splits}; {model}; {protocol}"


def _protocol(where: str, **settings: str | float) -> Protocol:
    try:
        return Protocol.model_validate(settings)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(f"{where}: {problem['loc'][0]}={problem['input']!r}: {problem['msg']}") from None


def _digest(items: pd.DataFrame, protocol: Protocol, has_prompts: bool, task: str) -> str:
    """SHA-256 of what a set holds, wherever it came from."""
    settings = {"protocol": protocol.model_dump(mode="json"), "has_prompts": has_prompts, "task": task}
    names = [name for name in COLUMNS if name in items]
    return content_hash(settings, rows_sha256([names, *zip(*(items[name].tolist() for name in names), strict=True)]))
