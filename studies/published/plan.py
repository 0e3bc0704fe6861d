"""What a reproduction of published figures costs, before any model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memdet.published.figures import Figure

if TYPE_CHECKING:
    from memdet.detectors import Detector

ANOTHER = "a100"  # where the device has no published peaks
# Configurations of the models. The UNet of Stable Diffusion 2 at 768 pixels is that of 2.1.
_CONFIGS = {"stable-diffusion-v1-4": "sd-1.4", "stable-diffusion-2": "sd-2.1"}


@dataclass(frozen=True)
class Asked:
    """What is to be run.

    Attributes:
        seeds: Noise seeds.
        items: Of each class; None takes all.
        gpu: Device for which is planned.
        dtype: Of the models.
        efficiency: Share of the published peaks that the device is taken to reach.
    """

    seeds: int
    items: int | None
    gpu: str
    dtype: str
    efficiency: float


def planned(figures: Sequence[Figure], detectors: Sequence[Detector], asked: Asked) -> str:
    """The cost of each sample set: a sentence and a table, a projection and no measurement.

    Args:
        figures: Of the sets that are to be run; the first of each set says how many prompts it has.
        detectors: Without controls, which cost nothing.
        asked: How.

    Raises:
        UserError: An unknown device, or one without the precision.
    """
    from memdet.benching.projection.devices import peaks_of
    from memdet.benching.projection.roofline import plan
    from memdet.benching.projection.unet import read_unet_config
    from memdet.benching.projection.work import Work, answer, work_table
    from memdet.tables.formats import text
    from memdet.tables.table import Block

    blocks: list[Block] = []
    device = peaks_of(asked.gpu, asked.dtype)
    firsts: dict[str, Figure] = {}
    for one in figures:
        firsts.setdefault(one.sample_set, one)
    for first in firsts.values():
        config = read_unet_config(_CONFIGS[first.model])
        classes = (first.n_memorized, first.n_other)
        prompts = sum(count if asked.items is None else min(asked.items, count) for count in classes)
        found = plan(config, detectors, asked.gpu, device, asked.dtype, steps=first.steps)
        work = Work(prompts, asked.seeds, asked.efficiency)
        blocks += [f"{first.sample_set} on {first.model}. {answer(found, work)}", work_table(found, work)]
    return text.document(blocks)


def gpu_here() -> str:
    """The device of this machine, by the name that :mod:`memdet.benching.projection.devices` has for it.

    Another one where it has none, or there is no GPU.
    """
    import torch

    return ANOTHER if not torch.cuda.is_available() else named_gpu(torch.cuda.get_device_name())


def named_gpu(title: str) -> str:
    """The name of a device whose driver calls it so.

    Example:
        >>> [named_gpu(title) for title in ("NVIDIA A100-SXM4-80GB", "NVIDIA L40S", "Tesla T4")]
        ['a100', 'a100', 't4']
    """
    from memdet.benching.projection.devices import DEVICES

    words = title.lower().replace("-", " ").split()
    return next((name for name in DEVICES if name in words), ANOTHER)
