"""Where the data file of a sample set is, and its checksum."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path

from memdet.errors import UserError
from memdet.samplesets.spec import (
    BundledSource,
    HubSource,
    LocalSource,
    ManualSource,
    OneFile,
    UrlSource,
    ZooSource,
)
from memdet.samplesets.strict_yaml import first_line, read_bytes


def specs_directory() -> Path:
    """The ``datasets_spec`` directory: inside an installed package, or beside it in a checkout."""
    package = Path(str(files("memdet")))
    inside = package / "datasets_spec"
    return inside if inside.is_dir() else package.parent / "datasets_spec"


def zoo_weights_directory() -> Path:
    """Where the planted models and their item tables lie."""
    return Path(str(files("memdet"))) / "zoo" / "weights"


def read_source(
    source: OneFile, spec_path: Path, *, files: Path | None = None, offline: bool = False
) -> tuple[Path, bytes, str]:
    """Find or fetch the data file and compare its checksum.

    Args:
        source: From the spec.
        spec_path: The spec file, from which local paths start and which errors name.
        files: Directory of the user's copies of remote files; the checksum, not the name, says which is which.
        offline: Take remote files from ``files`` or the cache alone.

    Returns:
        Path, content and SHA-256 of the file.

    Raises:
        UserError: The file is missing, cannot be fetched, or is not the one that the spec means.
    """
    path = _locate(source, spec_path, files, offline)
    data = read_bytes(path)
    found = hashlib.sha256(data).hexdigest()
    expected = None if isinstance(source, ManualSource) else source.sha256
    if expected is not None and found != expected:
        raise UserError(
            f"{path}: checksum differs: {spec_path} expects sha256 {expected}, found {found}; restore the file, "
            "or give changed data a new version and checksum in the spec"
        )
    return path, data, found


def _locate(source: OneFile, spec_path: Path, files: Path | None, offline: bool) -> Path:
    match source:
        case BundledSource(file=file):
            return specs_directory() / file
        case ZooSource(model=model, file=file):
            path = zoo_weights_directory() / model / file
            if not path.is_file():
                raise UserError(f"{path} does not exist (needed by {spec_path}); run `memdet zoo build {model}`")
            return path
        case LocalSource(path=path):
            return spec_path.parent / Path(path).expanduser()
        case UrlSource(url=url, sha256=sha256):
            suffix = _suffix(url)
            return _given(files, sha256, suffix) or _fetch_url(source, suffix, spec_path, offline)
        case HubSource(file=file, sha256=sha256):
            return _given(files, sha256, Path(file).suffix) or _fetch_hub(source, spec_path, offline)
        case ManualSource(file=file, address=address):
            if files is not None and (files / file).is_file():
                return files / file
            raise UserError(
                f"{address} (needed by {spec_path}) has no known checksum, so memdet does not fetch it; download it as "
                f"{file} and pass its directory with --files"
            )


def _suffix(address: str) -> str:
    return Path(address.partition("?")[0].partition("#")[0]).suffix


def _given(files: Path | None, sha256: str, suffix: str) -> Path | None:
    """The user's copy of a file, by its checksum."""
    if files is None:
        return None
    if not files.is_dir():
        raise UserError(f"--files {files} is no directory; name the one that holds the downloaded files")
    return next(
        (
            path
            for path in sorted(files.glob(f"*{suffix}"))
            if path.is_file() and hashlib.sha256(read_bytes(path)).hexdigest() == sha256
        ),
        None,
    )


def _fetch_url(source: UrlSource, suffix: str, spec_path: Path, offline: bool) -> Path:
    import platformdirs
    import pooch

    cache = Path(platformdirs.user_cache_dir("memdet")) / "samplesets"
    name, known = source.sha256 + suffix, f"sha256:{source.sha256}"
    if offline:
        cached = cache / name
        if cached.is_file() and hashlib.sha256(read_bytes(cached)).hexdigest() == source.sha256:
            return cached
        raise _not_here(source.url, spec_path)
    pooch.get_logger().setLevel("WARNING")
    problems = []
    for address in (source.url, *source.mirrors):
        try:
            return Path(pooch.retrieve(address, known_hash=known, fname=name, path=cache))
        except OSError as error:  # the network's errors and the disk's
            problems.append(f"{address} (needed by {spec_path}) cannot be fetched: {first_line(error)}")
        except ValueError as error:  # pooch's word for a wrong checksum
            got = re.search(r"got:?\s+([0-9a-f]{64})", str(error))
            found = got[1] if got else "another file"
            problems.append(f"{address}: checksum differs: {spec_path} expects sha256 {source.sha256}, found {found}")
    raise UserError(f"{'; '.join(problems)}; {_ADVICE}")


def _fetch_hub(source: HubSource, spec_path: Path, offline: bool) -> Path:
    import huggingface_hub

    address = f"https://huggingface.co/datasets/{source.repo}/resolve/{source.revision}/{source.file}"
    try:
        return Path(
            huggingface_hub.hf_hub_download(
                source.repo,
                source.file,
                revision=source.revision,
                repo_type="dataset",
                local_files_only=offline,
            )
        )
    except Exception as error:  # its client raises many classes, and each of them means that the file is not here
        if offline:
            raise _not_here(address, spec_path) from None
        raise UserError(
            f"{address} (needed by {spec_path}) cannot be fetched: {first_line(error)}; {_ADVICE}"
        ) from None


_ADVICE = "check the network, look for a mirror, or download the file elsewhere and pass its directory with --files"


def _not_here(address: str, spec_path: Path) -> UserError:
    return UserError(
        f"{address} (needed by {spec_path}) is not in the cache, and --offline fetches nothing; run once without it, "
        "or download the file and pass its directory with --files"
    )
