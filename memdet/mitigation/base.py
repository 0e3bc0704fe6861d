"""What a mitigation is. Imports no torch, so that mitigations can be listed without it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, get_args

from memdet.detectors.base import Access, Fidelity
from memdet.detectors.configured import Configured, check_said, told
from memdet.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler

TOLERANCE = 1e-4  # of distances: steps down a gradient amplify rounding


@dataclass(frozen=True)
class MitigationInfo:
    """What a table says of a mitigation.

    Attributes:
        name: On the command line and in tables.
        title: One line.
        access: What it must see or change: ``text`` the caption alone, ``samples`` the generation as a whole, ``score``
            predictions, ``gradient`` derivatives, ``attention`` or ``activations`` the inside of the network,
            ``training-data`` the training images.
        cost: Evaluations of one generation with the default options, at most, as
            :func:`~memdet.detectors.cost.declared_cost` reads it: ``2 T F + steps VJP``. The trajectory is counted.
        paper: Key in the bibliography, or None for controls.
        year: Of the paper.
        version: Raised when generations change.
        is_control: Whether it is a point of comparison and no method.
        fidelity, deviation: As of a detector's :class:`~memdet.detectors.DetectorInfo`.
        aliases: Names that it had before.
        task, whole_set, supervised, seeded: What the runner asks of whatever it runs, the same for every mitigation.

    Raises:
        UserError: Unknown access or fidelity, or a deviation that is not described.
    """

    name: str
    title: str
    access: Access
    cost: str
    paper: str | None = None
    year: int | None = None
    version: int = 1
    is_control: bool = False
    fidelity: Fidelity = "undeclared"
    deviation: str = ""
    aliases: tuple[str, ...] = ()
    task: ClassVar[str] = "any"
    whole_set: ClassVar[bool] = False
    supervised: ClassVar[bool] = False
    seeded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_said("mitigation", self)
        for field, known in (("access", get_args(Access)), ("fidelity", get_args(Fidelity))):
            given = getattr(self, field)
            if not isinstance(given, str) or given not in known:
                raise UserError(f"mitigation {self.name!r}: {field} is {told(given)}; known: {', '.join(known)}")
        if self.fidelity == "deviates" and not self.deviation:
            raise UserError(f"mitigation {self.name!r} deviates from its paper: say how and why, in deviation=...")


class Mitigation(Configured, ABC):
    """Generates from captions so that training images are not given back.

    A subclass sets ``info``, declares its options as annotated class attributes with their defaults, and defines
    :meth:`sample`. Options come as keywords, or as text from the command line (``name@steps=5``).

    Raises:
        UserError: Unknown option, a value that does not fit its annotation, or options of a class without ``info``.

    Example:
        >>> from memdet.mitigation.controls.lower_guidance import LowerGuidance
        >>> LowerGuidance(factor="0.25").label
        'lower-guidance@factor=0.25'
    """

    kind = "mitigation"
    public = "memdet.mitigation.Mitigation"
    info: ClassVar[MitigationInfo]
    info_type = MitigationInfo
    computes = ("sample",)

    @property
    def tolerance(self) -> float:
        """What a gate accepts of its distances."""
        return TOLERANCE

    @abstractmethod
    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item, ``[batch, *latent_shape]``.

        Raises:
            NotApplicableError: The model or the sample set lacks what the method needs.
        """
