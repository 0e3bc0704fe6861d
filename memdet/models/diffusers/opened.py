"""A model's directory as it is opened: where its files lie, what is put on it, and what a user should know of both."""

from __future__ import annotations

import shutil
import weakref
from dataclasses import dataclass
from pathlib import Path

from memdet.models.diffusers.adapters import Adapter
from memdet.models.diffusers.lora_folders import training_folder


@dataclass(frozen=True)
class Opened:
    """Where a model is read from.

    Attributes:
        directory: A pipeline directory in diffusers' layout.
        adapters: Put on it, in this order.
        remarks: What a user should know of how it was found.
        extra: Further files that decide what it answers, by the name that they have among the model's files.
        is_temporary: Whether the directory was made for this model alone.
    """

    directory: Path
    adapters: tuple[Adapter, ...] = ()
    remarks: tuple[str, ...] = ()
    extra: tuple[tuple[str, Path], ...] = ()
    is_temporary: bool = False

    @property
    def beside(self) -> dict[str, Path]:
        """Files outside the directory that decide what the model answers, by a name that says how they are used."""
        adapters = {f"{number}. {one.label}": one.path for number, one in enumerate(self.adapters, 1)}
        return {**dict(self.extra), **adapters}

    @property
    def trained_on(self) -> tuple[Path, ...]:
        """Folders that tell of training images: those of the adapters' trainings, or the model's own without any.

        An adapter was trained on further images, so that what the base was trained on is not all.
        """
        return tuple(dict.fromkeys(training_folder(one.path) for one in self.adapters)) or (self.directory,)

    def clear(self) -> None:
        """Remove a temporary directory."""
        if self.is_temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def clear_after(self, user: object) -> None:
        """Remove a temporary directory when its user is gone."""
        if self.is_temporary:
            weakref.finalize(user, shutil.rmtree, self.directory, ignore_errors=True)
