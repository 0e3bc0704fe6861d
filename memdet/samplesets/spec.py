"""What a sample-set spec and a suite may say."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=100)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Address = Annotated[str, StringConstraints(pattern=r"^(https://|http://127\.0\.0\.1[:/])\S+$")]
"""Of a file or a page; what comes without encryption comes from this machine alone."""
Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
LabelValue = bool | int | float | str


class _Strict(BaseModel):
    """No unknown fields, no conversions, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _InsideDirectory(_Strict):
    file: Text

    @field_validator("file")
    @classmethod
    def _stay_inside(cls, file: str) -> str:
        if re.match(r"([A-Za-z]:|[\\/])", file) or ".." in re.split(r"[\\/]", file):
            raise ValueError(f"{file!r} leaves its directory; write a relative path without '..'")
        return file


class BundledSource(_InsideDirectory):
    """A file in the ``datasets_spec`` directory that ships with memdet."""

    kind: Literal["bundled"]
    sha256: Sha256


class ZooSource(_InsideDirectory):
    """A file beside the weights of a planted model."""

    kind: Literal["zoo"]
    model: Slug
    sha256: Sha256


class LocalSource(_Strict):
    """A file of the user's; a relative path starts at the spec file."""

    kind: Literal["local"]
    path: Text
    sha256: Sha256 | None = None


class UrlSource(_Strict):
    """A file fetched from an address and kept in the user's cache."""

    kind: Literal["url"]
    url: Address
    sha256: Sha256
    mirrors: list[Address] = Field(default=[], description="Asked in turn where the address does not give the file.")


class HubSource(_InsideDirectory):
    """A file of a dataset repository on the Hugging Face hub."""

    kind: Literal["hub"]
    repo: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Text
    sha256: Sha256


class ManualSource(_InsideDirectory):
    """A file that memdet does not fetch, because its checksum is not known; the user downloads it."""

    kind: Literal["manual"]
    address: Address


class RowRange(_Strict):
    """Rows of a part that are one stratum."""

    name: Text
    rows: list[Annotated[int, Field(ge=1)]] = Field(min_length=2, max_length=2, description="First and last, from 1.")


class Part(_Strict):
    """A file of prompts that all have one label."""

    name: Slug
    source: UrlSource | LocalSource | HubSource | BundledSource | ManualSource = Field(discriminator="kind")
    items: int = Field(ge=1, description="How many prompts the file holds.")
    prompt: Text | None = Field(default=None, description="Column of the prompts; none in a text file.")
    separator: Literal[",", ";", "\t"] = Field(default=",", description="Between the fields of a CSV file.")
    cluster: Text | None = Field(default=None, description="Column whose values name families of near-duplicates.")
    stratum: Text | None = Field(default=None, description="Column of the strata.")
    strata: list[RowRange] | None = Field(
        default=None, min_length=1, description="Strata by rows, instead of a column."
    )

    @model_validator(mode="after")
    def _have_one_stratum_for_each_row(self) -> Part:
        if self.strata is None:
            return self
        if self.stratum is not None:
            raise ValueError("name the column 'stratum' or give 'strata' by rows, not both")
        expected = 1
        for part in self.strata:
            first, last = part.rows
            if first != expected or last < first:
                raise ValueError(f"strata {part.name!r} has rows {part.rows}; write [{expected}, last]")
            expected = last + 1
        if expected != self.items + 1:
            raise ValueError(f"strata end at row {expected - 1}, the part has {self.items} items")
        return self


class FilesSource(_Strict):
    """Several files, one or more per class, read as one table of the columns ``id, prompt, part, cluster, stratum``."""

    kind: Literal["files"]
    parts: list[Part] = Field(min_length=1)

    @field_validator("parts")
    @classmethod
    def _have_own_names(cls, parts: list[Part]) -> list[Part]:
        names = [part.name for part in parts]
        if len(set(names)) < len(names):
            raise ValueError("two parts have one name; rename one")
        return parts


OneFile = BundledSource | ZooSource | LocalSource | UrlSource | HubSource | ManualSource
Source = OneFile | FilesSource


class LabelColumn(_Strict):
    """The column that decides the label; rows with values in neither list are left out.

    Values are compared as text, so that ``1`` finds the number and the text; truth values are ``true`` and ``false``.
    """

    column: Text
    positive: list[LabelValue] = Field(min_length=1, description="Values that mean memorized.")
    negative: list[LabelValue] = Field(min_length=1, description="Values that mean not memorized.")

    @model_validator(mode="after")
    def _be_disjoint(self) -> LabelColumn:
        both = {label_text(value) for value in self.positive} & {label_text(value) for value in self.negative}
        if both:
            raise ValueError(f"{min(both)!r} is both positive and negative; name each value once")
        return self


class Columns(_Strict):
    """Columns of the data file; exactly one of ``prompt`` and ``condition`` is given."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["prompt"]}, {"required": ["condition"]}]},
    )

    id: Text
    prompt: Text | None = Field(default=None, description="Text that the model is conditioned on.")
    condition: Text | None = Field(default=None, description="A condition that is not text, e.g. a class.")
    label: LabelColumn
    stratum: Text | None = None
    cluster: Text | None = None
    split: Text | None = None
    model: Text | None = Field(
        default=None, description="Model of each item, in a set that spans models; written like the field model."
    )
    image: Text | None = Field(
        default=None, description="Images of the task image: PNG, in the space that the model generates in."
    )
    extraction: Text | None = Field(
        default=None, description="Measured share of an item's generations that copy training data, 0 to 1."
    )

    @model_validator(mode="after")
    def _have_one_condition(self) -> Columns:
        if (self.prompt is None) == (self.condition is None):
            raise ValueError("name exactly one of the columns 'prompt' and 'condition'")
        return self


class Protocol(_Strict):
    """How samples are generated while detectors look."""

    scheduler: Literal["ddim"] = "ddim"
    steps: int = Field(ge=1, le=1000)
    guidance: float = Field(ge=0)
    seeds: int = Field(ge=1, description="Noise seeds 0 to seeds - 1.")
    noise: Literal["shared", "per-item"] = Field(description="One starting noise per seed, or one per item and seed.")


class Asset(_Strict):
    """Something remote that the sample set needs or came from."""

    name: Text
    address: Address
    status: Text = Field(description="Whether it can be had, and since when not.")
    mirrors: list[Address] = []


class SampleSetSpec(_Strict):
    """A sample set: items with a label for one model, and how they are to be used."""

    model_config = ConfigDict(json_schema_extra={"dependentRequired": {"question": ["world"]}})

    schema_version: Literal[1]
    id: Slug
    version: int = Field(ge=1, description="Changed data means a new version; a published one is never edited.")
    published: Day | None = Field(default=None, description="Day on which this version became public; not hashed.")
    title: Text
    task: Literal["prompt", "image"]
    world: Slug | None = Field(
        default=None, description="Family of data, network and training that the set is of, such as grey; not hashed."
    )
    question: Slug | None = Field(
        default=None,
        description="What the set asks in its world, such as verbatim: sets of one question are averaged in the "
        "ranking over worlds, and a set without one takes no part in it; not hashed.",
    )
    model: Text = Field(description="Name in the zoo, closed form, directory, or hub id org/name@revision.")
    source: Source = Field(discriminator="kind")
    columns: Columns
    label_rule: Text = Field(description="What makes an item memorized, in words.")
    strata: Text = Field(description="What the strata are, in words.")
    clusters: Text = Field(description="What the clusters are, in words.")
    protocol: Protocol
    blind_controls: dict[Slug, Annotated[float, Field(ge=0, le=1)]] = Field(
        description="Control name to the AUROC that it may not be shown to exceed."
    )
    shared_region: list[Annotated[float, Field(ge=0, le=1)]] | None = Field(
        default=None,
        min_length=4,
        max_length=4,
        description="Part of the image that is memorized: left, top, right, bottom as shares of its width and height.",
    )
    order: int | None = Field(
        default=None, ge=1, description="Place among the sets of a page, which opens on the first; not hashed."
    )
    licence: Text
    citation: Text
    provenance: Text
    known_problems: list[Text]
    assets: list[Asset]

    @field_validator("question")
    @classmethod
    def _be_asked_in_a_world(cls, question: str | None, info: ValidationInfo) -> str | None:
        if question is not None and info.data.get("world", "") is None:
            raise ValueError(f"{question!r} is asked in no world; name the 'world' too")
        return question

    @model_validator(mode="after")
    def _have_images_for_the_task(self) -> SampleSetSpec:
        if (self.task == "image") != (self.columns.image is not None):
            raise ValueError("the task image needs columns.image, and the task prompt has none")
        return self


class SuiteSpec(_Strict):
    """A named list of sample sets, and of the detectors or mitigations that are run on them."""

    name: Slug
    title: Text
    sample_sets: list[Text] = Field(min_length=1)
    detectors: list[Text] = []
    mitigations: list[Text] = []
    seeds: int | None = Field(default=None, ge=1, description="Instead of each protocol's own number.")
    items: int | None = Field(
        default=None, ge=2, description="Of mitigations: the first of each label, instead of all."
    )

    @model_validator(mode="after")
    def _run_one_kind(self) -> SuiteSpec:
        if bool(self.detectors) == bool(self.mitigations):
            raise ValueError("a suite lists detectors or mitigations, one of the two")
        if self.items is not None and self.detectors:
            raise ValueError("detectors are judged on all items of a set: `items` is for mitigations")
        return self


PARTS: dict[str, type[BaseModel]] = {
    "bundled": BundledSource,
    "zoo": ZooSource,
    "local": LocalSource,
    "url": UrlSource,
    "hub": HubSource,
    "manual": ManualSource,
    "files": FilesSource,
    "parts": Part,
    "strata": RowRange,
    "columns": Columns,
    "label": LabelColumn,
    "protocol": Protocol,
    "assets": Asset,
}
"""Model of a nested part, by its field name, or by its kind for a source."""


def label_text(value: object) -> str:
    """The text that two label values are compared by.

    Example:
        >>> [label_text(value) for value in (True, 1, 1.0, "1", "verbatim")]
        ['true', '1', '1', '1', 'verbatim']
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def json_schema() -> dict[str, Any]:
    """JSON Schema of a sample-set spec, as published in ``datasets_spec/schema.json``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SampleSetSpec.model_json_schema()}
