"""The files that decide what a model of a directory answers, and whether they are still those that were loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from memdet.errors import UserError
from memdet.models.diffusers.directory import weights_in
from memdet.models.diffusers.training_images import training_images_digest
from memdet.models.diffusers.weights import is_pickle

_HASHED = {".json", ".txt", ".model", ".safetensors"}
_BESIDE = ("model_index.json", "labels.json", "config.json")
"""In the directory itself: the index, names of classes, the configuration of a network of its own."""
TRAINING_IMAGES = "training images"
_Seen = tuple[int, int, int]


class ModelFiles:
    """Configurations, weights, tokenizers and adapters of a model's directory, as they lay there when it was loaded.

    Args:
        directory: Of the model.
        components: Folders in it that are loaded; without any, the weights lie in the directory itself.
        beside: Further files, adapters say, by the name under which they count.
        trained_on: Folders that tell of training images, of which one can say that they are all; ``directory`` if None.
    """

    def __init__(
        self,
        directory: Path,
        components: Iterable[str] = (),
        beside: Mapping[str, Path] | None = None,
        trained_on: tuple[Path, ...] | None = None,
    ) -> None:
        self._trained_on = (directory,) if trained_on is None else trained_on
        self._directory, self._components, self._beside = directory, tuple(components), dict(beside or {})
        self._seen = self._look()
        self._digests: dict[str, str] = {}
        self._fingerprints: dict[str, str] = {}

    def remarks(self) -> list[str]:
        """Which weights were read where there is a choice, and which files beside them were not."""
        chosen = {name: weights_in(self._directory / name) for name in self._components}
        remarks = []
        for name, weights in chosen.items():
            if weights is not None and weights.variant is not None:
                others = f"; {', '.join(weights.others)} is there too" if weights.others else ""
                remarks.append(
                    f"{name}: read from the variant {weights.variant}, for there are no plain weights{others}"
                )
            elif weights is not None and weights.others:
                remarks.append(f"{name}: read from the plain weights, not from the variant {', '.join(weights.others)}")
        if self._components and (left := sorted(path.name for path in self._directory.glob("*") if _are_weights(path))):
            remarks.append(f"{', '.join(left)} beside the model: not read, as diffusers does not read it")
        return remarks

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file by its path in the directory, and of all training images where these are known.

        Raises:
            UserError: A file is not the one that was there when the model was loaded.
        """
        self._check()
        for name in self._seen:
            if name not in self._digests:
                self._digests[name] = self._read(name, hashlib.sha256()).hexdigest()
        images = training_images_digest(self._trained_on[0]) if len(self._trained_on) == 1 else ""
        return self._digests | ({TRAINING_IMAGES: images} if images else {})

    def fingerprint(self, text: str = "") -> str:
        """SHA-256 over the files of the components and those beside, and ``text``: what decides predictions.

        Training images decide no prediction; :meth:`digests` has them.

        Raises:
            UserError: As :meth:`digests`.
        """
        self._check()
        if text not in self._fingerprints:
            total = hashlib.sha256(text.encode())
            inside = [name for part in self._components for name in self._seen if name.startswith(f"{part}/")]
            for name in (*inside, *self._beside):
                total.update(name.encode())
                digest = hashlib.sha256()
                self._read(name, total, digest)
                self._digests[name] = digest.hexdigest()
            self._fingerprints[text] = total.hexdigest()
        return self._fingerprints[text]

    def _read(self, name: str, *digests: Any) -> Any:
        """Give a file to digests; the first of them."""
        with (self._beside.get(name) or self._directory / name).open("rb") as file:
            while chunk := file.read(1 << 20):
                for digest in digests:
                    digest.update(chunk)
        return digests[0]

    def _check(self) -> None:
        found = self._look()
        if changed := sorted(name for name in {*found, *self._seen} if found.get(name) != self._seen.get(name)):
            path = self._beside.get(changed[0], self._directory / changed[0])
            raise UserError(
                f"{path} changed since the model was loaded, so that nobody can tell what the one in memory is: load "
                "it again"
            )

    def _look(self) -> dict[str, _Seen]:
        """Size, time and number of each file, by which one that was changed or replaced is told."""
        patterns = _BESIDE if self._components else (*_BESIDE, "*.safetensors")
        own = {path for pattern in patterns for path in self._directory.glob(pattern)}
        for component in self._components:
            own.update(_read_of(self._directory / component))
        paths = {path.relative_to(self._directory).as_posix(): path for path in sorted(own)} | self._beside
        seen = {}
        for name, path in paths.items():
            if path.is_file():
                state = path.stat()
                seen[name] = (state.st_size, state.st_mtime_ns, state.st_ino)
        return seen


def _read_of(folder: Path) -> list[Path]:
    """Files of a component that are read: of several variants of its weights the chosen one."""
    if not folder.is_dir():
        return []
    weights = weights_in(folder)
    files = weights.files if weights is not None else ()
    return [
        path
        for path in folder.iterdir()
        if path.suffix in _HASHED and (path.name in files or not (weights is not None and _is_of_weights(path.name)))
    ]


def _is_of_weights(name: str) -> bool:
    return name.endswith(".safetensors") or ".safetensors." in name


def _are_weights(path: Path) -> bool:
    return path.is_file() and (path.suffix == ".safetensors" or is_pickle(path.name))
