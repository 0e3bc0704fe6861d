"""Where the data file of a sample set is, and its checksum."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path

from memdet.errors import UserError
from memdet.samplesets.spec import BundledSource, HubSource, LocalSource, Source, UrlSource, ZooSource
from memdet.samplesets.yaml_file import first_line, read_bytes


def specs_directory() -> Path:
    """The ``datasets_spec`` directory: inside an installed package, or beside it in a checkout."""
    package = Path(str(files("memdet")))
    inside = package / "datasets_spec"
    return inside if inside.is_dir() else package.parent / "datasets_spec"


def zoo_weights_directory() -> Path:
    """Where the planted models and their item tables lie."""
    return Path(str(files("memdet"))) / "zoo" / "weights"


def read_source(source: Source, spec_path: Path) -> tuple[Path, bytes, str]:
    """Find or fetch the data file and compare its checksum.

    Args:
        source: From the spec.
        spec_path: The spec file, from which local paths start and which errors name.

    Returns:
        Path, content and SHA-256 of the file.

    Raises:
        UserError: The file is missing, cannot be fetched, or is not the one that the spec means.
    """
    path = _locate(source, spec_path)
    data = read_bytes(path)
    found = hashlib.sha256(data).hexdigest()
    if source.sha256 is not None and found != source.sha256:
        raise UserError(
            f"{path}: checksum differs: {spec_path} expects sha256 {source.sha256}, found {found}; restore the file, "
            "or give changed data a new version and checksum in the spec"
        )
    return path, data, found


def _locate(source: Source, spec_path: Path) -> Path:
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
        case UrlSource():
            return _fetch_url(source, spec_path)
        case HubSource():
            return _fetch_hub(source, spec_path)


def _fetch_url(source: UrlSource, spec_path: Path) -> Path:
    import platformdirs
    import pooch

    suffix = Path(source.url.partition("?")[0].partition("#")[0]).suffix
    cache = Path(platformdirs.user_cache_dir("memdet")) / "samplesets"
    try:
        return Path(
            pooch.retrieve(source.url, known_hash=f"sha256:{source.sha256}", fname=source.sha256 + suffix, path=cache)
        )
    except OSError as error:  # the network's errors and the disk's
        raise _unreachable(source.url, error, spec_path) from None
    except ValueError as error:  # pooch's word for a wrong checksum
        got = re.search(r"got:?\s+([0-9a-f]{64})", str(error))
        found = got[1] if got else "another file"
        raise UserError(
            f"{source.url}: checksum differs: {spec_path} expects sha256 {source.sha256}, found {found}; "
            "the file at that address has changed: look for a mirror, or write a new version of the spec"
        ) from None


def _fetch_hub(source: HubSource, spec_path: Path) -> Path:
    import huggingface_hub

    try:
        return Path(
            huggingface_hub.hf_hub_download(source.repo, source.file, revision=source.revision, repo_type="dataset")
        )
    except Exception as error:  # its client raises many classes, and each of them means that the file is not here
        address = f"https://huggingface.co/datasets/{source.repo}/resolve/{source.revision}/{source.file}"
        raise _unreachable(address, error, spec_path) from None


def _unreachable(address: str, error: Exception, spec_path: Path) -> UserError:
    return UserError(
        f"{address} (needed by {spec_path}) cannot be fetched: {first_line(error)}; check the network, or download it "
        "elsewhere and point a spec of kind local at it"
    )
