"""One repository of the Hugging Face hub, file by file, online or from the hub's cache."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from memdet.errors import UserError
from memdet.samplesets.fetch import no_telemetry

Kind = Literal["model", "dataset"]


@dataclass
class Repository:
    """A repository at one revision, below a subfolder.

    Attributes:
        name: ``org/name``.
        revision: As asked; None is the main branch.
        subfolder: Ends in ``/``, or is empty.
        is_cached_only: Whether the cache alone is taken: asked for, or the hub does not answer.
        kind: Of repository.
        directory: In the hub's cache; known once a file is.
        remarks: What a user should know.
    """

    name: str
    revision: str | None
    subfolder: str
    is_cached_only: bool
    kind: Kind = "model"
    directory: Path | None = None
    remarks: list[str] = field(default_factory=list)
    _is_offline: bool = False

    @classmethod
    def of(
        cls,
        reference: str,
        *,
        revision: str | None = None,
        subfolder: str | None = None,
        offline: bool = False,
        kind: Kind = "model",
    ) -> Repository:
        """From what a user wrote.

        Args:
            reference: ``owner/name`` or ``owner/name@revision``.
            revision: Said beside it.
            subfolder: In which all names lie.
            offline: Take the cache alone.
            kind: Of repository.

        Raises:
            UserError: Two revisions.
        """
        name, _, written = reference.partition("@")
        if written and revision and written != revision:
            raise UserError(
                f"{reference} says the revision {written}, and `revision` says {revision}: write one",
                parameters=("revision",),
            )
        folder = (subfolder or "").strip("/")
        start = f"{folder}/" if folder else ""
        return cls(name, written or revision or None, start, offline, kind, _is_offline=offline)

    @property
    def shown(self) -> str:
        """As messages name it."""
        return self.name + (f"/{self.subfolder.rstrip('/')}" if self.subfolder else "")

    @property
    def commit(self) -> str | None:
        """The revision that the first file came from: all others are of the same; None before the first."""
        if self.directory is None:
            return None
        place = self.directory
        while place.parent.name != "snapshots":
            place = place.parent
        return place.name

    @property
    def call(self) -> str:
        """Arguments of ``from_pretrained`` that load it."""
        return repr(self.name) + (f", revision={self.revision!r}" if self.revision else "")

    def has(self, name: str) -> bool:
        """Whether a file is there, which is then fetched.

        Raises:
            UserError: The hub does not say.
        """
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            self.fetch(name)
        except UserError as refusal:
            cause = refusal.__cause__
            if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
                return False
            if self._snapshot() is not None and self._is_offline:
                return False
            raise
        return True

    def fetch(self, name: str) -> Path:
        """A file, from the cache or the hub.

        Raises:
            UserError: Neither has it.
        """
        from huggingface_hub import hf_hub_download

        try:
            with no_telemetry():
                path = Path(
                    hf_hub_download(
                        self.name,
                        self.subfolder + name,
                        repo_type=self.kind,
                        revision=self.commit or self.revision,
                        local_files_only=self.is_cached_only,
                    )
                )
        except Exception as error:  # the hub's client raises many kinds; the user needs one line
            raise self._refusal(error, name) from error
        if self.directory is None:
            self.directory = path.parents[name.count("/")]
        return path

    def names(self) -> list[str]:
        """Names of all files, sorted: those of the hub, or of the cache where that alone is taken.

        Raises:
            UserError: There is no such repository, or the hub does not answer and nothing is in the cache.
        """
        from huggingface_hub import HfApi

        if not self.is_cached_only:
            try:
                info = HfApi().repo_info(self.name, repo_type=self.kind, revision=self.commit or self.revision)
                return self._below([sibling.rfilename for sibling in info.siblings or []])
            except Exception as error:
                if self._snapshot() is None:
                    raise self._refusal(error, "") from error
                self.is_cached_only = True
                self.remarks.append(
                    f"{self.shown}: the hub does not answer ({_reason(error)}); what its cache holds is taken"
                )
        snapshot = self._snapshot()
        if snapshot is None:
            raise self._refusal(FileNotFoundError(self.shown), "")
        self.directory = snapshot / self.subfolder
        return self._below([path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()])

    def incomplete(self, lacking: str) -> UserError:
        """That the cache does not hold what is wanted."""
        if self._is_offline:
            return UserError(
                f"{self.shown}: the hub's cache lacks {lacking}, and `offline` fetches nothing; run once without it, "
                f"or name a {self._local}",
                parameters=("offline",),
            )
        return UserError(f"{self.shown}: the hub does not answer, and its cache lacks {lacking}")

    @property
    def _local(self) -> str:
        """What lies on this machine instead of it."""
        return "file" if self.kind == "dataset" else "directory"

    @property
    def _page(self) -> str:
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.name}"

    def _below(self, names: list[str]) -> list[str]:
        return sorted(name.removeprefix(self.subfolder) for name in names if name.startswith(self.subfolder))

    def _snapshot(self) -> Path | None:
        """Folder of the revision in the hub's cache, whose layout is documented."""
        from huggingface_hub import constants

        place = Path(constants.HF_HUB_CACHE) / f"{self.kind}s--{self.name.replace('/', '--')}"
        ref = place / "refs" / (self.revision or "main")
        commit = self.commit or (ref.read_text().strip() if ref.is_file() else self.revision)
        found = place / "snapshots" / commit if commit else None
        return found if found is not None and found.is_dir() else None

    def _refusal(self, error: Exception, name: str) -> UserError:
        """One line on why a file, or the repository, did not come."""
        from huggingface_hub import errors

        cause = error.__cause__ or error.__context__ or error
        answers = [getattr(one, "response", None) for one in (error, cause)]
        is_barred = any(getattr(answer, "status_code", None) in {401, 403} for answer in answers)
        login = "log in (`hf auth login`, or HF_TOKEN)"
        what = f"{self.shown} is no local {self._local}, and the hub"
        if self._is_offline:
            if self._snapshot() is None:
                return UserError(
                    f"{self.shown} is no local {self._local} and not in the hub's cache, and `offline` fetches "
                    f"nothing; run once without it, or name a {self._local}",
                    parameters=("offline",),
                )
            return self.incomplete(name)
        if isinstance(error, errors.GatedRepoError):
            return UserError(f"{what} gives it to those who accept its terms: {self._page}; then {login}")
        if isinstance(error, errors.RepositoryNotFoundError):
            return UserError(f"{what} has no such repository, or a private one: check the name, or {login}")
        if isinstance(error, errors.RevisionNotFoundError):
            return UserError(f"{what} has no revision {self.revision} of it", parameters=("revision",))
        if is_barred:
            return UserError(f"{what} refuses it ({_reason(cause)}): {login}")
        is_local = isinstance(error, errors.LocalEntryNotFoundError)
        if isinstance(error, errors.EntryNotFoundError) and not is_local:
            return UserError(f"{what} has no {self.subfolder}{name} in it")
        if is_local:
            return UserError(f"{what} does not answer ({_reason(cause)}): check the network, or name a {self._local}")
        gone = f"{what} did not give {name or 'its list of files'} ({type(error).__name__}: {_reason(error)})"
        return UserError(f"{gone}; check the network and run again, which goes on where it stopped")


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
