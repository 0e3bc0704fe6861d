"""A score model that a user's Python file makes: ``FILE.py:NAME`` where a model is named."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from memdet.errors import UserError
from memdet.io_utils import sha256_of
from memdet.models.base import ScoreModel
from memdet.models.closed_form.base import ClosedForm
from memdet.models.own_network import CallableModel
from memdet.models.wrapped import WrappedModel
from memdet.samplesets.strict_yaml import nearest
from memdet.source_files import importing_from, reason, run_file, taken_from_elsewhere, with_imports

_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")
_RETURN = "return a memdet.ScoreModel; memdet.ScoreModel.from_callable makes one of a network"
_imported: dict[Path, str] = {}
_ATTRIBUTES = ("name", "latent_shape", "schedule", "prediction_type", "device", "dtype")


def is_own_file(reference: str) -> bool:
    """Whether a model is named by a Python file.

    Raises:
        UserError: It is, but nothing in it is named.

    Example:
        >>> is_own_file("nets/own.py:make_model"), is_own_file("tiny-sd-a")
        (True, False)
    """
    if reference.endswith((".py", ".py:")):
        raise UserError(
            f"model {reference!r} is a Python file: name the function in it that makes the model, FILE.py:NAME"
        )
    return _REFERENCE.fullmatch(reference) is not None


def load_own_file(reference: str, device: torch.device, dtype: torch.dtype) -> ScoreModel:
    """Run a user's file and take the model that it makes.

    The file is run anew at every call, and can import files that lie beside it. It decides on which device and in which
    dtype the model computes.

    Args:
        reference: ``FILE.py:NAME``; the name is that of a function (or class) without arguments that returns a
            :class:`ScoreModel`, or of such a model.
        device: The model must be there.
        dtype: The model must be of it; float32, which nobody asks for, takes any.

    Returns:
        The model, called after the file and the name. Its fingerprint covers the file and the local files that it
        imports, beside all that the model's own fingerprint covers.

    Raises:
        UserError: There is no such file or name, its code raises, it makes no score model, or one elsewhere.
    """
    found = _REFERENCE.fullmatch(reference)
    assert found is not None
    path = Path(found["file"]).expanduser().resolve()
    name = f"{path.name}:{found['name']}"
    with importing_from(path.parent):
        # The content is in the module's name, and no path: code is known by its module, wherever the file lies.
        content = sha256_of(path)[:12] if path.is_file() else ""
        module = run_file(path, f"memdet_model_{path.stem}_{content}", "model file")
        if (taken := taken_from_elsewhere(path)) is not None:
            raise UserError(
                f"model file {path} imports {taken[0]}, of which this process has read {taken[1]}: rename one of them"
            )
        model = _made(module, found["name"], path)
        sources = _as_run(path)
    checked_model(model, name)
    indices = {model.device.index, device.index} - {None}
    if model.device.type != device.type or len(indices) > 1:
        raise UserError(
            f"{name} computes on {model.device}, and `device` is {device}: make it there, or ask for {model.device}",
            parameters=("device",),
        )
    if dtype not in (torch.float32, model.dtype):
        raise UserError(f"{name} computes in {model.dtype}, and `dtype` is {dtype}: make it so", parameters=("dtype",))
    return model if isinstance(model, ClosedForm) else FileModel(model, name, sources, path.parent)


def checked_model(model: Any, what: str) -> ScoreModel:
    """A score model that has all that every floor above asks for.

    Raises:
        UserError: It is none, or lacks an attribute.
    """
    if not isinstance(model, ScoreModel):
        raise UserError(f"{what} is no score model but {type(model).__name__}: {_RETURN}")
    missing = [name for name in _ATTRIBUTES if not hasattr(model, name)]
    if missing:
        raise UserError(
            f"{what}: the model has no {', '.join(missing)}; set them in __init__ of {type(model).__name__}"
        )
    if not isinstance(model.device, torch.device) or not isinstance(model.dtype, torch.dtype):
        raise UserError(f"{what}: device and dtype of the model are those of torch, torch.device('cpu') say")
    return model


class FileModel(WrappedModel):
    """A model of a user's file, under the name by which the user asks for it.

    Args:
        inner: What the file makes.
        name: Of file and function.
        sources: SHA-256 of the file and of the local files that it imports, as they were run.
        folder: Of the file.
    """

    def __init__(self, inner: ScoreModel, name: str, sources: dict[Path, str], folder: Path) -> None:
        super().__init__(inner)
        self.name = name
        self._sources, self._folder = sources, folder

    @property
    def takes_prompts(self) -> bool:  # type: ignore[override]  # as of WrappedModel
        """Whether conditions are text: a user's own network that has conditions takes what the user's items hold."""
        return self.inner.takes_prompts or (isinstance(self.inner, CallableModel) and self.inner.is_conditional)

    def fingerprint(self) -> str:
        """SHA-256 of what the model says of itself, and of the code that made it."""
        parts = [self.inner.fingerprint(), *(f"{name} {digest}" for name, digest in sorted(self._by_name().items()))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def files(self) -> dict[str, str]:
        """The files of code, by their paths from the folder of the first, and those of the model.

        Raises:
            UserError: One has changed since it was run.
        """
        for path, digest in self._sources.items():
            if not path.is_file() or sha256_of(path) != digest:
                raise UserError(f"{self.name}: {path} changed since this process read it: start Python again")
        return self._by_name() | self.inner.files()

    def _by_name(self) -> dict[str, str]:
        return {Path(os.path.relpath(path, self._folder)).as_posix(): digest for path, digest in self._sources.items()}


def _as_run(path: Path) -> dict[Path, str]:
    """Checksums of a file and of the local files that it imports, which Python reads once a process.

    Raises:
        UserError: One that was imported for an earlier model has changed since.
    """
    sources = with_imports(path)
    for file, digest in sources.items():
        if file != path and _imported.setdefault(file, digest) != digest:
            raise UserError(f"model file {path}: {file} changed since this process imported it: start Python again")
    return sources


def _made(module: ModuleType, name: str, path: Path) -> Any:
    """What a name of a module stands for: itself, or what it makes."""
    if not hasattr(module, name):
        known = [key for key in vars(module) if not key.startswith("_")]
        raise UserError(f"model file {path} has no {name}: {nearest(name, known, 'define it at the top level')}")
    target = getattr(module, name)
    if isinstance(target, ScoreModel) or not callable(target):
        return target
    try:
        return target()
    except UserError as error:
        raise UserError(f"{path.name}:{name}: {error}") from None
    except (Exception, SystemExit) as error:  # its author's mistake, whatever it is
        raise UserError(
            f"{path}: {name}() raised {type(error).__name__}: {reason(error)}; it is called without arguments"
        ) from error
