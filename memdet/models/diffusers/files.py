"""The files that decide what a model of a directory answers, and whether they are still those that were loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from memdet.errors import UserError
from memdet.models.diffusers.training_images import training_images_digest

_HASHED = {".json", ".txt", ".model", ".safetensors"}
_BESIDE = ("model_index.json", "labels.json", "config.json", "*.safetensors")
"""In the directory itself: the index, names of classes, a network of its own, adapters (LoRA, textual inversion)."""
TRAINING_IMAGES = "training images"
_Seen = tuple[int, int, int]


class ModelFiles:
    """Configurations, weights, tokenizers and adapters of a model's directory, as they lay there when it was loaded.

    Args:
        directory: Of the model.
        components: Folders in it that are loaded.
    """

    def __init__(self, directory: Path, components: Iterable[str] = ()) -> None:
        self._directory, self._components = directory, tuple(components)
        self._seen = self._look()
        self._digests: dict[str, str] = {}
        self._fingerprints: dict[str, str] = {}

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file by its path in the directory, and of all training images where these are known.

        Raises:
            UserError: A file is not the one that was there when the model was loaded.
        """
        self._check()
        for name in self._seen:
            if name not in self._digests:
                self._digests[name] = self._read(name, hashlib.sha256()).hexdigest()
        images = training_images_digest(self._directory)
        return self._digests | ({TRAINING_IMAGES: images} if images else {})

    def fingerprint(self, text: str = "") -> str:
        """SHA-256 over the files of the components and the adapters, and ``text``: what decides predictions.

        Training images decide no prediction; :meth:`digests` has them.

        Raises:
            UserError: As :meth:`digests`.
        """
        self._check()
        if text not in self._fingerprints:
            total = hashlib.sha256(text.encode())
            inside = [name for part in self._components for name in self._seen if name.startswith(f"{part}/")]
            for name in (*inside, *(name for name in self._seen if "/" not in name and name.endswith(".safetensors"))):
                total.update(name.encode())
                digest = hashlib.sha256()
                self._read(name, total, digest)
                self._digests[name] = digest.hexdigest()
            self._fingerprints[text] = total.hexdigest()
        return self._fingerprints[text]

    def _read(self, name: str, *digests: Any) -> Any:
        """Give a file to digests; the first of them."""
        with (self._directory / name).open("rb") as file:
            while chunk := file.read(1 << 20):
                for digest in digests:
                    digest.update(chunk)
        return digests[0]

    def _check(self) -> None:
        found = self._look()
        if changed := sorted(name for name in {*found, *self._seen} if found.get(name) != self._seen.get(name)):
            raise UserError(
                f"{self._directory / changed[0]} changed since the model was loaded, so that nobody can tell what the "
                "one in memory is: load it again"
            )

    def _look(self) -> dict[str, _Seen]:
        """Size, time and number of each file, by which one that was changed or replaced is told."""
        beside = [path for pattern in _BESIDE for path in self._directory.glob(pattern)]
        inside = [
            path
            for component in self._components
            if (self._directory / component).is_dir()
            for path in (self._directory / component).iterdir()
            if path.suffix in _HASHED
        ]
        seen = {}
        for path in sorted({*beside, *inside}):
            if path.is_file():
                state = path.stat()
                seen[path.relative_to(self._directory).as_posix()] = (state.st_size, state.st_mtime_ns, state.st_ino)
        return seen
