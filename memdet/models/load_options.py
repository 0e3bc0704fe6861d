"""What of a repository or directory is loaded, and what is put on it; imports no torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from pathlib import Path

from memdet.errors import UserError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
"""``org/name`` or ``org/name@revision``."""
NONE = "none"
"""Written for an adapter: those that lie beside the weights are left out, and the base is meant."""


OPTIONS = ("revision", "subfolder", "base", "lora", "textual_inversion", "prediction_type")
"""Names of the options, which the command line has too."""


@dataclass(frozen=True)
class LoadOptions:
    """Which files make up a model, beside its name.

    Attributes:
        revision: Branch, tag or commit of a hub repository.
        subfolder: Folder of the repository or directory in which the model lies.
        base: Directory or hub id of the whole model, where a name means a part of one: the ``unet`` of a fine-tune, or
            a single file of weights.
        lora: LoRA files, each ``FILE`` or ``FILE:scale``; they are fused in their order. ``none`` alone leaves out
            what lies beside the weights.
        textual_inversion: Files of learned tokens, each ``FILE`` or ``FILE:token``; ``none`` as above.
        prediction_type: What the network predicts, ``eps``, ``v``, ``x0`` or ``flow``, where the files say it wrongly.

    Raises:
        UserError: Of the wrong type, empty, or ``none`` beside a file.

    Example:
        >>> options = LoadOptions(lora=["style.safetensors:0.8"])
        >>> options.lora, options.suffix
        (('style.safetensors:0.8',), '+style')
    """

    revision: str | None = None
    subfolder: str | None = None
    base: str | None = None
    lora: tuple[str, ...] = ()
    textual_inversion: tuple[str, ...] = ()
    prediction_type: str | None = None

    def __post_init__(self) -> None:
        for name in ("revision", "subfolder", "base", "prediction_type"):
            value = getattr(self, name)
            if isinstance(value, Path):
                object.__setattr__(self, name, value := str(value))
            if value is not None and (not isinstance(value, str) or not value.strip()):
                raise UserError(f"`{name}` is {value!r}; write text, or leave it out", parameters=(name,))
        if self.subfolder is not None and (Path(self.subfolder).is_absolute() or ".." in Path(self.subfolder).parts):
            raise UserError(
                f"`subfolder` is {self.subfolder!r}; write a folder inside the model's own", parameters=("subfolder",)
            )
        for name in ("lora", "textual_inversion"):
            given = getattr(self, name)
            texts = (given,) if isinstance(given, str | Path) else tuple(given)
            if any(not str(text).strip() for text in texts):
                raise UserError(f"`{name}` has an empty entry; write FILE, or {NONE}", parameters=(name,))
            texts = tuple(str(text) for text in texts)
            if NONE in texts and len(texts) > 1:
                raise UserError(
                    f"`{name}` has {NONE} beside a file: write one of the two, for {NONE} means the model without any",
                    parameters=(name,),
                )
            object.__setattr__(self, name, texts)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the options that are given."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))

    @property
    def suffix(self) -> str:
        """What tells a model from its base, for names: subfolder, adapters, prediction type; empty without any."""
        adapters = [Path(text).name.split(".safetensors")[0] for text in (*self.lora, *self.textual_inversion)]
        folder = [self.subfolder.strip("/").replace("/", "-")] if self.subfolder else []
        predicts = [f"predicts-{self.prediction_type}"] if self.prediction_type else []
        return "".join(f"+{part}" for part in (*folder, *adapters, *predicts) if part != NONE)


def file_and_scale(text: str, places: tuple[Path, ...]) -> tuple[Path, float]:
    """A LoRA file and its scale, 1 where none is said.

    Args:
        text: ``FILE`` or ``FILE:scale``.
        places: Folders from which a relative path may start; the first that has the file is taken.

    Raises:
        UserError: No such file, or no number.
    """
    found = _file(text, places)
    if found is not None:
        return found, 1.0
    name, colon, scale = text.rpartition(":")
    found = _file(name, places) if colon else None
    if found is None:
        raise UserError(
            f"`lora`: no file {name if colon and _number(scale) is not None else text}; write FILE or FILE:scale, "
            f"style.safetensors:0.8 say, or {NONE} for the model without any",
            parameters=("lora",),
        )
    number = _number(scale)
    if number is None:
        raise UserError(
            f"`lora`: {text}: the scale {scale!r} is no number; write {found.name}:0.8", parameters=("lora",)
        )
    return found, number


def file_and_token(text: str, places: tuple[Path, ...]) -> tuple[Path, str | None]:
    """A file of learned tokens, and the token that it is given; None takes the file's own.

    Args:
        text: ``FILE`` or ``FILE:token``.
        places: As for :func:`file_and_scale`.

    Raises:
        UserError: No such file, or an empty token.
    """
    found = _file(text, places)
    if found is not None:
        return found, None
    name, colon, token = text.rpartition(":")
    found = _file(name, places) if colon else None
    if found is None or not token.strip():
        raise UserError(
            f"`textual_inversion`: no file {text if found is None else name + ' with an empty token'}; write FILE or "
            f"FILE:token, cat.safetensors:<cat> say, or {NONE} for the model without any",
            parameters=("textual_inversion",),
        )
    return found, token.strip()


def _file(name: str, places: tuple[Path, ...]) -> Path | None:
    """The file of a name, or the only file of weights in the folder of a name."""
    for place in places:
        path = place / Path(name).expanduser()
        if path.is_file():
            return path
        if path.is_dir():
            inside = sorted(path.glob("*.safetensors"))
            if len(inside) == 1:
                return inside[0]
    return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
