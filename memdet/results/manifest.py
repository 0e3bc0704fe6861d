"""``run.json``: what a run was, typed. Every version so far is read; the present one is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from memdet.detectors.base import Access, is_control
from memdet.errors import UserError
from memdet.given_files import LARGEST_JSON, read_given
from memdet.io_utils import write_text
from memdet.models.load_options import LoadOptions
from memdet.results.integrity import CHECKSUM, MEND, OTHER_CONTENT, digest_of_content
from memdet.results.labels import renamed_labels
from memdet.results.schema import SCHEMA_VERSION

FILE = "run.json"
_KINDS = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value", type(None): "null"}


Name = Annotated[str, Field(min_length=1)]
Version = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Seconds = Annotated[float, Field(ge=0)]
Dtype = Annotated[str, Field(pattern=r"^b?float(16|32|64)$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class SampleSetEntry(_Part):
    """A sample set of a run, as it was scored.

    Attributes:
        id, version, content_hash: Of the sample set.
        model: Its own; None for a set that names none.
        model_hashes: Fingerprint of each model of its items.
        model_files: SHA-256 of each file of such a model, by its path; empty in runs of an older memdet.
        items: SHA-256 of the items of each split; empty in runs of an older memdet.
        dtype: Of the models.
        steps, guidance, noise, seeds: Of the protocol.
        batch_size: Items at once, as planned.
    """

    id: Name
    version: Version = 1
    content_hash: str = ""
    model: str | None = None
    model_hashes: dict[str, str] = {}
    model_files: dict[str, dict[str, str]] = {}
    items: dict[str, str] = {}
    dtype: Dtype = "float32"
    steps: Count | None = None
    guidance: float | None = None
    noise: Literal["shared", "per-item"] | None = None
    seeds: int = Field(default=1, ge=1, le=1_000_000)
    batch_size: Count | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_version_1(cls, content: Any) -> Any:
        """Version 1 had one model a sample set."""
        if isinstance(content, dict) and "model_hash" in content and "model_hashes" not in content:
            return content | {"model_hashes": {str(content.get("model")): content["model_hash"]}}
        return content


class DetectorEntry(_Part):
    """A detector of a run.

    Attributes:
        label: Name and options.
        version, access, seeded: Of its :class:`~memdet.detectors.DetectorInfo`.
        code: Checksums of its code by file; empty for those of memdet, and in runs of an older memdet.
    """

    label: Name
    version: Version = 1
    access: Access = "score"
    seeded: bool = True
    code: dict[str, str] = {}

    @property
    def is_control(self) -> bool:
        """Whether it never calls the model."""
        return is_control(self.access)

    @property
    def bound_to_seeds(self) -> bool:
        """Whether its scores depend on the noise seed: those of a control do not, nor those of what takes no noise."""
        return self.seeded and not self.is_control


class Settings(_Part):
    """All that decides the scores: two runs with equal settings give the same table.

    Attributes:
        memdet: Version of the package.
        sample_sets, detectors: In the order of the rows.
        device: Of the models.
        accelerate: How forwards were made faster.
    """

    memdet: str = ""
    sample_sets: list[SampleSetEntry] = []
    detectors: list[DetectorEntry] = []
    device: str | None = None
    accelerate: str = "off"


class LoadingEntry(_Part):
    """What of a model's repository or directory was loaded, and what was put on it.

    Attributes:
        revision, subfolder, base, lora, textual_inversion, prediction_type: As of
            :class:`~memdet.models.load_options.LoadOptions`.
    """

    revision: str | None = None
    subfolder: str | None = None
    base: str | None = None
    lora: list[str] = []
    textual_inversion: list[str] = []
    prediction_type: str | None = None

    @classmethod
    def of(cls, options: LoadOptions) -> LoadingEntry:
        """What a manifest keeps of load options."""
        return cls.model_validate({name: _plain(getattr(options, name)) for name in cls.model_fields})

    @property
    def options(self) -> LoadOptions:
        """The load options again.

        Raises:
            UserError: The manifest was edited, and these are none.
        """
        return LoadOptions(**{name: getattr(self, name) for name in type(self).model_fields})


class CallEntry(_Part):
    """One of the calls that computed a run which was interrupted and continued.

    Attributes:
        started: When.
        seconds: From its start to its last shard, or to the end.
        python, platform, processor, workers: Where, and by how many processes.
    """

    started: str = ""
    seconds: Seconds | None = None
    python: str | None = None
    platform: str | None = None
    processor: str | None = None
    workers: Count | None = None


class Manifest(_Part):
    """What a run was: settings that must match to continue it, and the circumstances in which it was computed.

    Attributes:
        schema_version: Of the file that was read.
        settings: All that decides the scores.
        tolerances: Relative difference that a gate accepts of a detector's scores, by label.
        loading: How each model that is no plain directory or hub id was loaded, by its name; what was loaded decides
            the model's hash, which is in the settings.
        offline: Whether models came from the cache alone.
        command, started, git_revision, packages, python, platform: What computed it, and since when.
        processor, cores, threads, workers, attention: On what, and how.
        halved: Items at once that fitted into memory, by sample set, where the planned batch did not.
        seconds_total: From start to end; of a run that was continued the sum over its calls.
        calls: That computed it, where they were several.
        seconds: By sample set and label.
        messages: Each distinct one once, by sample set and label; under ``model`` what a user should know of the
            models and the prompts.
        finished: Whether all is scored.
        files: SHA-256 of the files of scores and items; empty in runs of an older memdet, and until it is finished.
    """

    schema_version: int = SCHEMA_VERSION
    settings: Settings = Settings()
    tolerances: dict[str, Any] = {}
    loading: dict[str, LoadingEntry] = {}
    offline: bool = False
    command: str = ""
    started: str = ""
    git_revision: str | None = None
    packages: dict[str, str] = {}
    python: str | None = None
    platform: str | None = None
    processor: str | None = None
    cores: Count | None = None
    threads: Count | None = None
    workers: Count | None = None
    attention: str | None = None
    halved: dict[str, Count] = {}
    seconds_total: Seconds | None = None
    calls: list[CallEntry] = []
    seconds: dict[str, dict[str, Seconds]] = {}
    messages: dict[str, dict[str, list[str]]] = {}
    finished: bool = False
    files: dict[str, str] = {}

    def detector(self, label: str) -> DetectorEntry | None:
        """The entry of a label, if the run has it."""
        return next((entry for entry in self.settings.detectors if entry.label == label), None)

    def sample_set(self, name: str) -> SampleSetEntry | None:
        """The entry of a sample set, if the run has it."""
        return next((entry for entry in self.settings.sample_sets if entry.id == name), None)

    def messages_of(self, sample_set: str, label: str) -> list[str]:
        """What a detector said on a sample set."""
        return self.messages.get(sample_set, {}).get(label, [])

    def with_labels(self, renamed: Mapping[str, str]) -> Manifest:
        """The same with other labels.

        Args:
            renamed: New label by old one; others stay.
        """
        if not renamed:
            return self

        def keyed(values: Mapping[str, Any]) -> dict[str, Any]:
            return {renamed.get(label, label): value for label, value in values.items()}

        detectors = [
            entry.model_copy(update={"label": renamed.get(entry.label, entry.label)})
            for entry in self.settings.detectors
        ]
        return self.model_copy(
            update={
                "settings": self.settings.model_copy(update={"detectors": detectors}),
                "tolerances": keyed(self.tolerances),
                "seconds": {name: keyed(of_set) for name, of_set in self.seconds.items()},
                "messages": {name: keyed(of_set) for name, of_set in self.messages.items()},
            }
        )

    @property
    def renamed(self) -> dict[str, str]:
        """Today's label of each detector that was renamed since the run, by the label that its files hold."""
        return renamed_labels(entry.label for entry in self.settings.detectors)

    def write(self, directory: Path) -> None:
        """Replace ``run.json``, all or nothing."""
        content = self.model_dump(mode="json", exclude_defaults=False)
        if self.settings.accelerate == "off":
            del content["settings"]["accelerate"]
        parts = [*content["settings"]["sample_sets"], *content["settings"]["detectors"]]
        for part in parts:
            for name in ("model_files", "items", "code"):
                if not part.get(name, True):
                    del part[name]
        for name in ("loading", "offline", "halved", "seconds_total", "calls"):
            if not content[name]:
                del content[name]
        content[CHECKSUM] = digest_of_content(content)
        write_text(directory / FILE, json.dumps(content, indent=2) + "\n")

    @classmethod
    def read(cls, directory: Path, *, checked: bool = True) -> Manifest:
        """Read ``run.json`` of any schema version so far, with the labels that it holds.

        Args:
            directory: Of the run.
            checked: Whether its checksum must hold, where it has one. Leave it out only to list all mistakes and not
                the first alone.

        Raises:
            UserError: Missing, damaged, or written by a newer memdet.
        """
        file = directory / FILE
        if not file.is_file():
            raise UserError(f"{directory} holds no run: {FILE} is missing{_place_of_run(directory)}")
        try:
            content = json.loads(read_given(file, LARGEST_JSON).decode("utf-8"))
            version = content.get("schema_version") if isinstance(content, dict) else None
            if isinstance(version, int) and version > SCHEMA_VERSION:
                raise UserError(
                    f"{file} has schema version {version}, this memdet reads up to {SCHEMA_VERSION}: upgrade memdet"
                )
            if problem := _missing_part(content):
                raise UserError(f"{file} is damaged: {problem}: {MEND}")
            manifest = cls.model_validate(content)
            if problem := _damage(content, checked=checked):
                raise UserError(f"{file} is damaged: {problem}: {MEND}")
            return manifest
        except ValidationError as error:
            raise UserError(f"{file} is damaged: {_first_problem(error)}: {MEND}") from None
        except RecursionError:
            raise UserError(f"{file} is damaged: lists or objects within each other without end: {MEND}") from None
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise UserError(f"{file} is damaged: {error}: {MEND}") from None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _place_of_run(given: Path) -> str:
    """Where the run is, if a file of it was named."""
    return f"; name the directory, {given.parent}" if given.is_file() and given.name in {FILE, "scores.parquet"} else ""


def _missing_part(content: Any) -> str:
    """What a manifest of any version has and this content has not; empty if nothing."""
    if not isinstance(content, dict):
        return f"it holds {_KINDS.get(type(content), 'a value')}, not an object"
    if "schema_version" not in content:
        return f"{FILE} lacks schema_version"
    version = content["schema_version"]
    if type(version) is not int or version < 1:
        return f"schema_version is {json.dumps(version)[:40]}, not a whole number from 1"
    if "settings" not in content:
        return f"{FILE} lacks settings"
    settings = content["settings"]
    return f"{FILE} lacks settings.detectors" if isinstance(settings, dict) and "detectors" not in settings else ""


def _damage(content: dict[str, Any], *, checked: bool) -> str:
    """What shows that a manifest of the right form was changed; empty if nothing.

    Checksum and files come together, so that neither can lose its name unseen.
    """
    for entries, name, what in (("sample_sets", "id", "sample set"), ("detectors", "label", "detector")):
        names = [entry[name] for entry in content["settings"].get(entries, [])]
        if twice := [one for one in names if names.count(one) > 1]:
            return f"the run names {what} {twice[0]} more than once"
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "it holds half a character, which is no text"
    if not checked or not {CHECKSUM, "files"} & content.keys():
        return ""
    if missing := {CHECKSUM, "files"} - content.keys():
        return f"{FILE} lacks {missing.pop()}"
    return "" if content[CHECKSUM] == digest_of_content(content) else OTHER_CONTENT


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"field {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
