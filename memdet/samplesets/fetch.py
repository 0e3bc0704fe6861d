"""Where files come from that a sample set or a model needs, and their checksums."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import BinaryIO

from memdet.errors import UserError
from memdet.given_files import LARGEST_TABLE, lifted, read_given
from memdet.io_utils import sha256_of, weights_root
from memdet.samplesets.spec import (
    BundledSource,
    HubSource,
    LocalSource,
    ManualSource,
    OneFile,
    UrlSource,
    ZooSource,
)
from memdet.samplesets.strict_yaml import first_line

_GIVE = "pass its directory as `files`"
_ADVICE = f"check the network, look for a mirror, or download the file elsewhere and {_GIVE}"


def specs_directory() -> Path:
    """The ``datasets_spec`` directory: inside an installed package, or beside it in a checkout."""
    package = Path(str(resources.files("memdet")))
    inside = package / "datasets_spec"
    return inside if inside.is_dir() else package.parent / "datasets_spec"


@dataclass(frozen=True)
class Fetcher:
    """Knows where remote files may come from; whatever loads data or models asks it.

    Attributes:
        files: Directory of the user's copies of remote files; the checksum, not the name, says which is which.
        offline: Take remote files from ``files`` or the cache alone, and open no connection.

    Example:
        >>> Fetcher(offline=True)
        Fetcher(files=None, offline=True)
    """

    files: Path | None = None
    offline: bool = False

    def read(self, source: OneFile, spec_path: Path) -> tuple[Path, bytes, str]:
        """Find or fetch the data file of a spec and compare its checksum.

        Args:
            source: From the spec.
            spec_path: The spec file, from which local paths start and which errors name.

        Returns:
            Path, content and SHA-256 of the file.

        Raises:
            UserError: The file is missing, cannot be fetched, or is not the one that the spec means.
        """
        path = self._locate(source, spec_path)
        data = read_given(path)
        found = hashlib.sha256(data).hexdigest()
        expected = None if isinstance(source, ManualSource) else source.sha256
        if expected is not None and found != expected:
            raise UserError(
                f"{path}: checksum differs: {spec_path} expects sha256 {expected}, found {found}; restore the file, "
                "or give changed data a new version and checksum in the spec"
            )
        return path, data, found

    def _locate(self, source: OneFile, spec_path: Path) -> Path:
        match source:
            case BundledSource(file=file):
                return specs_directory() / file
            case ZooSource(model=model, file=file):
                path = weights_root() / model / file
                if not path.is_file():
                    raise UserError(f"{path} does not exist (needed by {spec_path}); run `memdet zoo build {model}`")
                return path
            case LocalSource(path=path):
                return spec_path.parent / Path(path).expanduser()
            case UrlSource(url=url, sha256=sha256):
                suffix = _suffix(url)
                return self._given(sha256, suffix) or self._from_url(source, suffix, spec_path)
            case HubSource(file=file, sha256=sha256):
                return self._given(sha256, Path(file).suffix) or self._from_hub(source, spec_path)
            case ManualSource(file=file, address=address):
                if self.files is not None and (self.files / file).is_file():
                    return self.files / file
                raise UserError(
                    f"{address} (needed by {spec_path}) has no known checksum, so memdet does not fetch it; download "
                    f"it as {file} and {_GIVE}",
                    parameters=("files",),
                )

    def _given(self, sha256: str, suffix: str) -> Path | None:
        """The user's copy of a file, by its checksum."""
        if self.files is None:
            return None
        if not self.files.is_dir():
            raise UserError(
                f"`files` {self.files} is no directory; name the one that holds the downloaded files",
                parameters=("files",),
            )
        candidates = (path for path in sorted(self.files.glob(f"*{suffix}")) if path.is_file())
        return next((path for path in candidates if sha256_of(path) == sha256), None)

    def _from_url(self, source: UrlSource, suffix: str, spec_path: Path) -> Path:
        import platformdirs

        cache = Path(platformdirs.user_cache_dir("memdet")) / "samplesets"
        name = source.sha256 + suffix
        if self.offline:
            cached = cache / name
            if cached.is_file() and sha256_of(cached) == source.sha256:
                return cached
            raise _not_here(source.url, spec_path)
        problems = []
        for address in (source.url, *source.mirrors):
            try:
                return _retrieve(address, source.sha256, cache, name)
            except OSError as error:  # the network's errors and the disk's
                problems.append(f"{address} (needed by {spec_path}) cannot be fetched: {first_line(error)}")
            except ValueError as error:  # pooch's word for a wrong checksum, and for an address that it cannot read
                got = re.search(r"got:?\s+([0-9a-f]{64})", str(error))
                problems.append(
                    f"{address}: checksum differs: {spec_path} expects sha256 {source.sha256}, found {got[1]}"
                    if got
                    else f"{address} (needed by {spec_path}) cannot be fetched: {first_line(error)}"
                )
        raise UserError(f"{'; '.join(problems)}; {_ADVICE}", parameters=("files",))

    def _from_hub(self, source: HubSource, spec_path: Path) -> Path:
        import huggingface_hub

        address = f"https://huggingface.co/datasets/{source.repo}/resolve/{source.revision}/{source.file}"
        try:
            with no_telemetry():
                return Path(
                    huggingface_hub.hf_hub_download(
                        source.repo,
                        source.file,
                        revision=source.revision,
                        repo_type="dataset",
                        local_files_only=self.offline,
                    )
                )
        except Exception as error:  # its client raises many classes, and each of them means that the file is not here
            if self.offline:
                raise _not_here(address, spec_path) from None
            raise UserError(
                f"{address} (needed by {spec_path}) cannot be fetched: {first_line(error)}; {_ADVICE}",
                parameters=("files",),
            ) from None


def _suffix(address: str) -> str:
    return Path(address.partition("?")[0].partition("#")[0]).suffix


def _retrieve(address: str, sha256: str, cache: Path, name: str) -> Path:
    import pooch

    with at_level(pooch.get_logger(), logging.WARNING):  # it tells of each download otherwise
        known = f"sha256:{sha256}"
        return Path(pooch.retrieve(address, known_hash=known, fname=name, path=cache, downloader=_download))


def _download(address: str, target: str, caller: object) -> None:
    """As pooch does, but no more than may be read."""
    import pooch

    with Path(target).open("wb") as file:
        pooch.HTTPDownloader()(address, _Bounded(file, address), caller)


class _Bounded:
    """A file that takes no more than memdet reads."""

    def __init__(self, file: BinaryIO, address: str) -> None:
        self._file, self._address = file, address

    def write(self, data: bytes) -> int:
        if self._file.tell() + len(data) > LARGEST_TABLE and not lifted():
            raise UserError(
                f"{self._address} gives more than {LARGEST_TABLE:,} bytes, and memdet reads no more; check the address"
            )
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Inside, the client of the hub tells nobody of itself: for that it opens a connection, even to read its cache."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = before


@contextmanager
def at_level(logger: logging.Logger, level: int) -> Iterator[None]:
    """Set the level of another library's logger, which the whole process shares, for a block alone."""
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


def _not_here(address: str, spec_path: Path) -> UserError:
    return UserError(
        f"{address} (needed by {spec_path}) is not in the cache, and `offline` fetches nothing; run once without it, "
        f"or download the file and {_GIVE}",
        parameters=("offline", "files"),
    )
