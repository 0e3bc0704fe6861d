"""The model ``oracle-16k``: planted atoms in 16,384 dimensions, with every eigenvalue known.

Clean samples of the null branch come from a broad Gaussian ``N(0, B^2 I)``, what the model has generalised, and from
atoms, what it has memorized. An atom is a narrow Gaussian around a point; its weight is its number of copies ``n``, and
more copies make it narrower: its standard deviation is ``B blur / sqrt(n)``. Conditions of the strata ``atoms-1``,
``atoms-3`` and ``atoms-10`` hold that many atoms. A condition of the stratum ``broad`` is a part of the broad one,
``N(mu, (rho B)^2 I)`` with ``mu`` from ``N(0, (1 - rho^2) B^2 I)``: averaged over all such ``mu`` that is the broad
component, so the null branch needs no components of their own for them. The centres of atoms are drawn likewise. Half
of the conditions of every stratum hold up to two percent of the whole broad component too.

B is small, so that at the first step of a trajectory, where ``alpha`` is small too, ``(alpha B / sigma)^2 d`` is a few
units and neither branch has decided yet which atom the noise leads to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from memdet.models.closed_form.mixture import GaussianMixture
from memdet.models.schedule import NoiseSchedule

LATENT_SHAPE = (4, 64, 64)
BROAD_STD = 0.25
BROAD_WEIGHT = 8_000.0
COPIES = (1, 4, 16, 64)
GOLDEN = (5**0.5 - 1) / 2
_ATOMS_PER_STRATUM = {"atoms-1": 1, "atoms-3": 3, "atoms-10": 10}
_POSITIVES_PER_STRATUM = 24
_NEGATIVES = 128


@dataclass(frozen=True)
class OracleItem:
    """One condition of ``oracle-16k``.

    Attributes:
        condition: Its name.
        stratum: ``atoms-1``, ``atoms-3``, ``atoms-10`` or ``broad``.
        memorized: Whether it holds atoms.
        copies: Of each of its atoms in the training set; 0 for the stratum ``broad``.
        width: Standard deviation of its atoms, or of its part of the broad component, relative to the broad one.
        share: Of the whole broad component in the condition.
    """

    condition: str
    stratum: str
    memorized: bool
    copies: int
    width: float
    share: float

    @property
    def components(self) -> int:
        """Number of Gaussians that are the condition's own."""
        return _ATOMS_PER_STRATUM.get(self.stratum, 1)


def oracle_16k_items() -> list[OracleItem]:
    """All conditions: 24 for each number of atoms and 128 without, in the order of a hash of their names.

    Nothing is drawn: widths and shares run through their ranges in even steps, paired by golden-ratio steps.
    """
    items = []
    for stratum in _ATOMS_PER_STRATUM:
        for i in range(_POSITIVES_PER_STRATUM):
            copies = COPIES[i % len(COPIES)]
            blur = 0.3 + 0.6 * ((i + 1) * GOLDEN % 1)
            share = _share((i // len(COPIES) + 0.5) / (_POSITIVES_PER_STRATUM // len(COPIES)))
            items.append(OracleItem(f"{stratum}-{i:02d}", stratum, True, copies, round(blur / copies**0.5, 4), share))
    for i in range(_NEGATIVES):
        width = 0.2 + 0.8 * (i + 0.5) / _NEGATIVES
        items.append(OracleItem(f"broad-{i:03d}", "broad", False, 0, round(width, 4), _share((i + 1) * GOLDEN % 1)))
    return sorted(items, key=lambda item: hashlib.sha256(item.condition.encode()).digest())


def _share(u: float) -> float:
    """None for half of the conditions, then up to 0.02, for ``u`` in [0, 1)."""
    return round(max(0.0, 0.04 * (u - 0.5)), 4)


def oracle_16k_table() -> str:
    """The content of ``datasets_spec/data/oracle-16k.csv``."""
    lines = ["item_id,condition,stratum,memorized,copies,width,share"]
    for index, item in enumerate(oracle_16k_items()):
        start = f"o16k-{index:03d},{item.condition},{item.stratum},{int(item.memorized)}"
        lines.append(f"{start},{item.copies},{item.width:.4f},{item.share:.4f}")
    return "\n".join(lines) + "\n"


def oracle_16k(device: torch.device) -> GaussianMixture:
    """Build the model; its means are drawn from a fixed seed."""
    items = oracle_16k_items()
    widths = [1.0] + [item.width for item in items for _ in range(item.components)]
    weights = [BROAD_WEIGHT] + [float(item.copies) for item in items for _ in range(item.components)]
    generator = torch.Generator("cpu").manual_seed(16_384)
    shape = (len(widths), *LATENT_SHAPE)
    means = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").flatten(1)
    means *= BROAD_STD * (1 - torch.tensor(widths, dtype=torch.float64, device="cpu").square()).sqrt()[:, None]
    conditions, first = {}, 1
    for item in items:
        choice = np.zeros(len(widths))
        choice[0] = item.share
        choice[first : first + item.components] = (1 - item.share) / item.components
        conditions[item.condition] = choice.tolist()
        first += item.components
    return GaussianMixture(
        "oracle-16k",
        means,
        stds=[BROAD_STD * width for width in widths],
        weights=weights,
        conditions=conditions,
        schedule=NoiseSchedule.from_betas(np.linspace(0.00085**0.5, 0.012**0.5, 1_000) ** 2),
        latent_shape=LATENT_SHAPE,
        device=device,
    )
