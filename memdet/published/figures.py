"""The figures of papers, from ``figures.csv``: a row a figure, each read in the source that it names."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from memdet.errors import UserError

FILE = "figures.csv"
Measure = Literal["auroc", "tpr_at_1_fpr"]
MEASURES: dict[Measure, str] = {"auroc": "AUROC", "tpr_at_1_fpr": "TPR at 1 % FPR"}
ROUNDING = 0.0005
"""Half a unit of the third decimal place, to which papers round: a figure stands for all numbers so near to it."""


class Figure(BaseModel):
    """One number of a paper.

    Attributes:
        sample_set: The set of memdet that holds the same prompts; empty where none does.
        model: Last part of the model's name on the hub, by which mirrors are known too.
        n_memorized, n_other: Prompts of each class.
        detector: The detector of memdet that computes the same, with its options.
        seeds: Noise seeds over which memdet must average.
        generations: The paper's n: generations of a prompt over which it averages, or which it compares.
        steps: Of the sampler.
        guidance: Classifier-free guidance; None where none is involved.
        measure: What the number is.
        value: The number, in [0, 1].
        paper: Key in ``docs/bibliography.bib``.
        arxiv: Number of the preprint; empty where there is none.
        place: Table of the paper, or file of its repository.
        note: What else must be known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_set: str
    model: str = Field(min_length=1)
    n_memorized: int = Field(ge=1)
    n_other: int = Field(ge=1)
    detector: str = Field(min_length=1)
    seeds: int = Field(ge=1)
    generations: int = Field(ge=1)
    steps: int = Field(ge=1)
    guidance: float | None
    measure: Measure
    value: float = Field(ge=0, le=1)
    paper: str = Field(min_length=1)
    arxiv: str
    place: str = Field(min_length=1)
    note: str

    @field_validator("guidance", mode="before")
    @classmethod
    def _empty_is_none(cls, given: object) -> object:
        return None if given == "" else given

    @model_validator(mode="after")
    def _seeds_are_generations(self) -> Figure:
        if self.seeds not in (1, self.generations):
            raise ValueError("seeds is neither 1 nor generations")
        return self

    @property
    def source(self) -> str:
        """Where the number stands."""
        preprint = f", arXiv {self.arxiv}" if self.arxiv else ""
        return f"{self.paper}{preprint}, {self.place}"


@cache
def published_figures() -> tuple[Figure, ...]:
    """All figures, in the order of the file.

    Example:
        >>> one = next(figure for figure in published_figures() if figure.detector == "jeon2025")
        >>> one.sample_set, one.generations, one.measure, one.value, one.source
        ('jeon-sd1', 1, 'auroc', 0.987, 'jeon2025sharpness, arXiv 2412.04140, Table 1')
    """
    return figures_of((files("memdet.published") / FILE).read_text(encoding="utf-8").splitlines(), FILE)


def figures_of(lines: Iterable[str], name: str) -> tuple[Figure, ...]:
    """Figures of a file with a header.

    Args:
        lines: Of comma-separated values; the columns are the fields of :class:`Figure`.
        name: Of the file, for errors.

    Raises:
        UserError: Another column, or a value that is none; names the line. One number stands there twice.
    """
    reader = csv.DictReader(lines, strict=True)
    if (found := list(reader.fieldnames or [])) != (wanted := [*Figure.model_fields]):
        raise UserError(f"{name} has the columns {', '.join(found)}: they are {', '.join(wanted)}")
    figures: dict[tuple[object, ...], Figure] = {}
    for row in reader:
        try:
            figure = Figure.model_validate(row)
        except ValidationError as error:
            problem = error.errors()[0]
            where = f"{'.'.join(map(str, problem['loc']))}: " if problem["loc"] else ""
            raise UserError(f"{name} line {reader.line_num}: {where}{problem['msg']}") from None
        key = (figure.sample_set, figure.model, figure.detector, figure.generations, figure.measure, figure.paper)
        if key in figures:
            raise UserError(f"{name} line {reader.line_num}: the same number stands above")
        figures[key] = figure
    return tuple(figures.values())


def sets_with_figures() -> list[str]:
    """Sample sets of memdet that have figures.

    Example:
        >>> sets_with_figures()
        ['jeon-sd1', 'jeon-sd2']
    """
    return list(dict.fromkeys(figure.sample_set for figure in published_figures() if figure.sample_set))
