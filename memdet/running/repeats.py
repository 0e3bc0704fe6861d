"""Items that several sample sets of a run have in common: a detector scores them once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from memdet.detectors import Detector
from memdet.probing import Cost
from memdet.running.scored import Scored
from memdet.samplesets import SampleSet

if TYPE_CHECKING:
    import pandas as pd


class Repeats:
    """Remembers, under one model and seed, scores of conditions that another sample set of the run asks about too.

    A score is the same in every sample set if it follows from the model, the condition, the protocol and noise that all
    items share. Controls may look at more of an item, and constants of the dev split are those of one sample set; what
    took either is not remembered. The cost is that of the sample set in which the item was scored.

    Args:
        sample_sets: Of the run.
        tested: Their test items, by the sets' names.
    """

    def __init__(self, sample_sets: Sequence[SampleSet], tested: Mapping[str, pd.DataFrame]) -> None:
        self._protocols: dict[str, Hashable] = {
            s.id: tuple(s.protocol.model_dump(exclude={"seeds"}).items())
            for s in sample_sets
            if s.protocol.noise == "shared" and s.task == "prompt"
        }
        sets_with: Counter[Hashable] = Counter()
        if len(self._protocols) > 1:
            for name in self._protocols:
                table = tested[name]
                sets_with.update(
                    {self._key(name, *pair) for pair in zip(table["model"], table["condition"], strict=True)}
                )
        self._wanted = {key for key, count in sets_with.items() if count > 1}
        self._owner: Hashable = None
        self._known: dict[Hashable, dict[str, tuple[float, Cost]]] = {}

    def _key(self, sample_set: str, model: str, condition: str) -> Hashable:
        return self._protocols[sample_set], model, condition

    def _keys(self, sample_set: str, part: pd.DataFrame) -> list[Hashable]:
        if sample_set not in self._protocols:
            return [None] * len(part)
        return [self._key(sample_set, *pair) for pair in zip(part["model"], part["condition"], strict=True)]

    def begin(self, model: str, seed: int) -> None:
        """Forget what was scored under another model or seed."""
        if self._owner != (model, seed):
            self._owner = (model, seed)
            self._known.clear()

    def known(self, sample_set: str, part: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows were scored before."""
        return np.array([key in self._known for key in self._keys(sample_set, part)], dtype=np.bool_)

    def left(self, sample_set: str, part: pd.DataFrame, detectors: Sequence[Detector]) -> list[Detector]:
        """Detectors whose scores of known rows are not all remembered."""
        stored = [self._known[key] for key in self._keys(sample_set, part)]
        return [detector for detector in detectors if not all(detector.label in of_item for of_item in stored)]

    def recall(self, sample_set: str, part: pd.DataFrame, label: str) -> Scored:
        """What a detector gave known rows."""
        found = [self._known[key][label] for key in self._keys(sample_set, part)]
        cost = Cost()
        for _, of_item in found:
            cost.add(of_item, 1 / len(found))
        cost.seconds *= len(found)
        return Scored([score for score, _ in found], ["ok"] * len(found), cost, "")

    def keep(self, sample_set: str, part: pd.DataFrame, found: Sequence[tuple[Detector, Scored]]) -> None:
        """Remember scores of rows that come again, of detectors that gave each a number and had nothing to say."""
        n = len(part)
        good = [
            (
                detector.label,
                scored,
                Cost(scored.cost.forwards, scored.cost.jvps, scored.cost.vjps, scored.cost.seconds / n),
            )
            for detector, scored in found
            if not (detector.info.is_control or scored.by_dev or scored.message or set(scored.statuses) != {"ok"})
        ]
        for row, key in enumerate(self._keys(sample_set, part)):
            if key in self._wanted:
                self._known.setdefault(key, {}).update(
                    {label: (scored.scores[row], cost) for label, scored, cost in good}
                )
