"""What an extraction found: of each prompt, how often the model gave back a training image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from memdet.extraction.compare import Comparison, Copies
from memdet.extraction.rule import AGREES, Rule
from memdet.extraction.sscd import Sscd
from memdet.io_utils import json_text
from memdet.metrics import Interval, mean_interval
from memdet.samplesets.prompts import Prompt

SCHEMA_VERSION = 1
Stratum = Literal["copied", "partly copied", "not copied"]


@dataclass(frozen=True)
class PromptResult:
    """A prompt and what its generations are.

    Attributes:
        id, prompt: As the file of prompts has them; the id of a caption is the name of its first image.
        lines: Of the file; of captions the numbers of their images.
        cut: Whether the model reads its beginning alone.
        copies: Its generations.
    """

    id: str
    prompt: str
    lines: tuple[int, ...]
    cut: bool
    copies: Copies

    @property
    def stratum(self) -> Stratum:
        """``copied`` where at least half of the generations are copies, ``partly copied`` where some are."""
        rate = 0.0 if self.copies.rate is None else self.copies.rate.value
        return "copied" if rate >= AGREES else "partly copied" if rate > 0 else "not copied"

    @property
    def label(self) -> int:
        """1 memorized where at least half of the generations are copies, else 0."""
        return int(self.stratum == "copied")


@dataclass(frozen=True)
class Extraction:
    """All that is reported.

    Attributes:
        model: As it was named.
        steps, guidance, seeds: Of the generations; the seeds are 0 to ``seeds - 1``.
        prompts_from, reference_from, folder: Names of the files and the folder.
        files: Images of the folder.
        rule, sscd: How copies are told.
        share: Of all generations that are copies, with a bootstrap over prompts; None where none was drawn.
        notes: Sentences on the training images.
        prompts: The highest extraction rate first, then the nearest.
    """

    model: str
    steps: int
    guidance: float
    seeds: int
    prompts_from: str
    reference_from: str | None
    folder: str
    files: int
    rule: Rule
    sscd: Sscd
    share: Interval | None
    notes: tuple[str, ...]
    prompts: tuple[PromptResult, ...]

    def count(self, stratum: Stratum) -> int:
        """Prompts of a stratum."""
        return sum(one.stratum == stratum for one in self.prompts)

    @property
    def undrawn(self) -> int:
        """Generations that could not be drawn."""
        return sum(match.file is None for one in self.prompts for match in one.copies.matches)

    def to_json(self) -> str:
        """All fields, full precision; what is undefined is null."""
        content = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        content["prompts"] = [asdict(one) | {"memorized": one.label, "stratum": one.stratum} for one in self.prompts]
        return json_text(content)


def ordered(prompts: Sequence[Prompt], cut: Sequence[bool], found: Comparison) -> tuple[PromptResult, ...]:
    """Prompts with their generations, the highest extraction rate first, then the nearest.

    Args:
        prompts: As they were given.
        cut: Whether each is longer than the model reads.
        found: Of the same prompts.
    """
    rows = [
        PromptResult(prompt.id, prompt.text, prompt.lines, is_cut, copies)
        for prompt, is_cut, copies in zip(prompts, cut, found.prompts, strict=True)
    ]

    def place(row: PromptResult) -> tuple[float, float]:
        closest = row.copies.closest.ratio
        rate = -1.0 if row.copies.rate is None else row.copies.rate.value
        return -rate, float("inf") if closest is None else closest

    return tuple(sorted(rows, key=place))


def share_of(found: Comparison, clusters: Sequence[str]) -> Interval | None:
    """Share of all generations that are copies, with an interval over prompts and noise.

    Args:
        found: The comparison.
        clusters: Of its prompts.
    """
    drawn = [(copies, cluster) for copies, cluster in zip(found.prompts, clusters, strict=True) if copies.drawn]
    if not drawn:
        return None
    names = [cluster for _, cluster in drawn]
    if all(copies.drawn == len(copies.matches) for copies, _ in drawn):
        return mean_interval([[float(m.copied is True) for m in copies.matches] for copies, _ in drawn], names)
    return mean_interval([copies.copied / copies.drawn for copies, _ in drawn], names)
