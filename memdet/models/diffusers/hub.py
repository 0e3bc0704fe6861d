"""Models of the Hugging Face hub: the index is read first, and what memdet wants is fetched, nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from memdet.errors import UserError
from memdet.given_files import read_json
from memdet.models.diffusers.adapters import check_beside, kind_of, read_adapters
from memdet.models.diffusers.checkpoints import advice_on, networks_in
from memdet.models.diffusers.directory import INDEX_FILE, no_weights
from memdet.models.diffusers.opened import Opened
from memdet.models.diffusers.quiet import quiet
from memdet.models.diffusers.weights import find_weights
from memdet.models.load_options import OPTIONS, LoadOptions
from memdet.samplesets.hub_repository import Repository

NEVER_READ = ("safety_checker", "feature_extractor", "image_encoder")
_OF_MODEL = ("labels.json", "config.json")
_SMALL = re.compile(r".*\.(json|txt|model)")
Check = Callable[[Path], None]


def components_of(index: dict[str, Any], where: str) -> list[str]:
    """Components that a model's index names and memdet reads.

    Raises:
        UserError: A pipeline or component that runs code of its own.
    """
    name = index.get("_class_name")
    if not isinstance(name, str):
        raise UserError(f"{where}: its pipeline is {name!r}, code of its own, which memdet does not run")
    found = []
    for component, entry in index.items():
        is_component = isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)
        if not is_component or component in NEVER_READ:
            continue
        if entry[0] not in {"diffusers", "transformers"}:
            raise UserError(f"{where}: {component} comes from {entry[0]!r}, not diffusers or transformers")
        found.append(component)
    return found


def fetch_model(
    reference: str, options: LoadOptions, check: Check, *, offline: bool = False, without: Collection[str] = ()
) -> Opened:
    """A model of the hub in the hub's cache.

    Args:
        reference: ``org/name`` or ``org/name@revision``.
        options: Revision, subfolder, and what is said about adapters.
        check: Refuses a directory by its configuration alone, before weights are fetched.
        offline: Take the cache alone.
        without: Components of which the configuration is enough.

    Raises:
        UserError: The hub does not give it, it is not in the cache, or memdet does not read such a model.
    """
    repository = _repository(reference, options, offline)
    with quiet():
        if repository.has(INDEX_FILE):
            return _fetch_whole(repository, options, check, without)
        told = advice_on(repository.names(), reference)
        told = f": {told}" if told else " and is no model of diffusers"
        raise UserError(f"{reference} has no {INDEX_FILE}{told}", parameters=OPTIONS)


def fetch_part(reference: str, options: LoadOptions, index: dict[str, Any], *, offline: bool = False) -> Path:
    """Networks of a fine-tune on the hub, in the hub's cache.

    Args:
        reference, options, offline: As for :func:`fetch_model`.
        index: Of the base, which says what is a network.

    Raises:
        UserError: As for :func:`fetch_model`, or there are none.
    """
    repository = _repository(reference, options, offline)
    with quiet():
        names = repository.names()
        if INDEX_FILE in names:
            raise UserError(f"{reference} is a whole model: leave `base` out", parameters=("base",))
        folders = networks_in(names, index) or [""] * ("config.json" in names)
        if not folders:
            told = advice_on(names, reference)
            raise UserError(
                f"{reference} holds no network of the base" + (f": {told}" if told else ""), parameters=OPTIONS
            )
        listing = {folder: _inside(names, folder) for folder in folders}
        for folder in folders:
            repository.fetch(f"{folder}/config.json".lstrip("/"))
        for name in [name for folder in folders for name in _weights(repository, folder, listing)]:
            repository.fetch(name)
        return repository.directory or Path()


def _repository(reference: str, options: LoadOptions, offline: bool) -> Repository:
    return Repository.of(reference, revision=options.revision, subfolder=options.subfolder, offline=offline)


def _fetch_whole(repository: Repository, options: LoadOptions, check: Check, without: Collection[str]) -> Opened:
    """Small files first, all refusals, then weights."""
    index = read_json(repository.fetch(INDEX_FILE))
    components = components_of(index, repository.shown)
    names = repository.names()
    adapters = [(name, kind) for name in names if "/" not in name and (kind := kind_of(name))]
    check_beside(adapters, repository.shown, options)
    listing = {component: _inside(names, component) for component in components}
    wanted = [name for name in names if name in _OF_MODEL]
    wanted += [f"{part}/{name}" for part, inside in listing.items() for name in inside if _is_small(name)]
    for name in wanted:
        repository.fetch(name)
    directory = repository.directory or Path()
    check(directory)
    weights = [] if components else [name for name in names if re.fullmatch(r"[^/]+\.safetensors", name)]
    for component in components:
        if component not in without and "config.json" in listing[component]:
            weights += _weights(repository, component, listing)
    for name, _ in adapters:  # also where they are left out: what comes from the cache later must show them again
        repository.fetch(name)
    read_adapters(options, directory)
    for name in weights:
        repository.fetch(name)
    return Opened(directory, remarks=tuple(repository.remarks))


def _weights(repository: Repository, component: str, listing: dict[str, list[str]]) -> list[str]:
    """Weight files of a component; an index of shards is fetched.

    Raises:
        UserError: There are none that memdet reads.
    """
    start = f"{component}/" if component else ""
    weights = find_weights(listing[component], lambda name: read_json(repository.fetch(start + name)))
    if weights is not None:
        return [start + name for name in weights.files]
    if repository.is_cached_only:
        raise repository.incomplete(f"weights of {component}")
    call = f"DiffusionPipeline.from_pretrained({repository.call}"
    raise UserError(no_weights(f"{repository.shown}/{component}", component, listing, call))


def _is_small(name: str) -> bool:
    return "/" not in name and _SMALL.fullmatch(name) is not None and ".index." not in name


def _inside(names: Collection[str], folder: str) -> list[str]:
    start = f"{folder}/" if folder else ""
    inside = [name.removeprefix(start) for name in names if name.startswith(start)]
    return sorted(name for name in inside if "/" not in name)
