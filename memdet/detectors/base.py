"""What a detector is. Imports no torch, so that detectors can be listed without it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from memdet.detectors.configured import Configured, check_fields, check_said, told
from memdet.errors import NotApplicableError, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe

TOLERANCE_OF_DIFFERENCES = 1e-2  # they divide the rounding of a prediction by a small step
Access = Literal["none", "text", "samples", "score", "gradient", "attention", "activations", "training-data"]
Task = Literal["prompt", "image", "any"]
CONTROL_ACCESS = frozenset({"none", "text"})
Fidelity = Literal["faithful", "deviates", "derived", "ours", "undeclared"]


def is_control(access: str) -> bool:
    """Whether a detector of that access is a control: one that never calls the model.

    Example:
        >>> is_control("text"), is_control("samples")
        (True, False)
    """
    return access in CONTROL_ACCESS


@dataclass(frozen=True)
class Headline:
    """The point at which a paper states the accuracy of its method.

    Attributes:
        options: That differ from the defaults, as on the command line: ``steps=50``.
        seeds: Generations or noise draws over which a prompt's score is averaged, the paper's n. A method that compares
            several draws within one score counts them in its options, and has one here.
        guidance: Classifier-free guidance scale of its trajectory; None where it follows none.
        source: Where the paper says so, or what the point rests on where it does not.

    Raises:
        UserError: A field of another type.

    Example:
        >>> Headline("steps=50", seeds=4, guidance=7.5).label("wen2024")
        'wen2024@steps=50'
    """

    options: str = ""
    seeds: int = 1
    guidance: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        check_fields("headline", self)

    def label(self, name: str) -> str:
        """The variant as it is written on the command line."""
        return f"{name}@{self.options}" if self.options else name

    def described(self) -> str:
        """Options, n and guidance, in Markdown.

        Example:
            >>> Headline("steps=50", seeds=4, guidance=7.5).described()
            '`steps=50`, n = 4, guidance 7.5'
        """
        parts = [f"`{self.options}`"] if self.options else []
        parts.append(f"n = {self.seeds}")
        if self.guidance is not None:
            parts.append(f"guidance {self.guidance:g}")
        return ", ".join(parts)


@dataclass(frozen=True)
class DetectorInfo:
    """What a table says of a detector.

    Attributes:
        name: On the command line and in tables.
        title: One line.
        paper: Key in the bibliography, or None for ours and for controls.
        access: What it must see: ``none`` or ``text`` for controls, else of the model.
        year: Of the paper.
        task: ``prompt`` or ``image`` where it reads one of them, else ``any``. A control of the other task is left out.
        cost: Evaluations per item and seed with the default options and noise of its own, as
            :func:`~memdet.detectors.cost.declared_cost` reads it: ``2 steps F + probes JVP``; F is a forward of
            one item and branch, T the steps of the protocol's trajectory, to_t those that lead to ``t``.
        version: Raised when scores change.
        whole_set: Scores all items in one call instead of batch by batch.
        supervised: Fits labels, with cross-validation; controls only.
        seeded: Whether the score depends on the seed; if not it is computed for one.
        tolerance: Largest difference between two runs that rounding explains, relative to the largest score of a sample
            set: on another machine, with another number of threads.
        aliases: Names that it had before. Tables of old runs show today's name for them.
        fidelity: What it is to its paper. ``faithful``: the default options compute what the paper defines.
            ``deviates``: they do not, and ``deviation`` says how and why. ``derived``: a quantity of the paper, made a
            detector by memdet. ``ours``: memdet's own. ``undeclared``: nobody has said.
        deviation: How it differs from the paper or from the official code, and why; needed where it ``deviates``.
        headline: The point at which its paper judges it; None for ours, for derived ones and for controls.

    Raises:
        UserError: A name that no command line can have, a field of another type, unknown access, task or fidelity, or
            a deviation that is not described.
    """

    name: str
    title: str
    access: Access
    cost: str
    paper: str | None = None
    year: int | None = None
    task: Task = "any"
    version: int = 1
    whole_set: bool = False
    supervised: bool = False
    seeded: bool = True
    tolerance: float = 1e-5
    aliases: tuple[str, ...] = ()
    fidelity: Fidelity = "undeclared"
    deviation: str = ""
    headline: Headline | None = None

    def __post_init__(self) -> None:
        check_said("detector", self)
        kinds = (("access", get_args(Access)), ("task", get_args(Task)), ("fidelity", get_args(Fidelity)))
        for field, known in kinds:
            given = getattr(self, field)
            if not isinstance(given, str) or given not in known:
                raise UserError(f"detector {self.name!r}: {field} is {told(given)}; known: {', '.join(known)}")
        if not isinstance(self.headline, Headline | None):
            raise UserError(f"detector {self.name!r}: headline is {told(self.headline)}, not a Headline")
        if self.fidelity == "deviates" and not self.deviation:
            raise UserError(f"detector {self.name!r} deviates from its paper: say how and why, in deviation=...")

    @property
    def is_control(self) -> bool:
        """Whether it never calls the model."""
        return is_control(self.access)


class Detector(Configured, ABC):
    """Maps a probe to one number an item, larger meaning more memorized, always.

    A subclass sets ``info``, declares its options as annotated class attributes with their defaults, and defines
    :meth:`score`. Options come as keywords, or as text from the command line (``name@steps=50``).

    Raises:
        UserError: Unknown option, a value that does not fit its annotation, or options of a class without ``info``.

    Example:
        >>> from memdet.detectors.methods.wen2024_magnitude import ScoreDifferenceNorm
        >>> ScoreDifferenceNorm(steps="5").label
        'wen2024@steps=5'
    """

    kind = "detector"
    public = "memdet.Detector"
    info: ClassVar[DetectorInfo]
    info_type = DetectorInfo
    computes = ("score", "map")

    @property
    def tolerance(self) -> float:
        """What the gate accepts of its scores: that of ``info``, or more where they rest on finite differences."""
        differences = str(getattr(self, "backend", "")).startswith("fd")
        return max(self.info.tolerance, TOLERANCE_OF_DIFFERENCES if differences else 0.0)

    @abstractmethod
    def score(self, probe: Probe) -> Tensor:
        """Score each item of the probe, ``[batch]``; converted to float64 by the runner.

        Raises:
            NotApplicableError: The model or the sample set lacks what the detector needs.
        """

    def map(self, probe: Probe) -> Tensor:
        """Where each item is memorized, ``[batch, height, width]`` of the latents; larger means more.

        Raises:
            NotApplicableError: The detector gives no map, or the model and sample set lack what it needs.
        """
        raise NotApplicableError(f"{self.info.name} gives no map")

    @classmethod
    def gives_map(cls) -> bool:
        """Whether :meth:`map` is there."""
        return cls.map is not Detector.map
