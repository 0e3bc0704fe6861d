"""How a run is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from memdet.errors import UserError
from memdet.models.accelerated import Mode
from memdet.models.load_options import LoadOptions
from memdet.samplesets.fetch import Fetcher

Engine = Literal["local", "ray"]


@dataclass(frozen=True)
class RunOptions:
    """How a run is computed; what of it decides the scores is in the run's settings.

    Attributes:
        seeds: Noise seeds 0 to seeds - 1; None takes each protocol's own number.
        device, dtype: Of the models.
        batch_size: Items at once; None takes :func:`~memdet.running.batch_size.automatic_batch`. A batch that does not
            fit into memory is halved until it does.
        accelerate: How forwards are made faster; see :func:`memdet.models.accelerated.accelerate`.
        memo: False recomputes what detectors could share.
        engine: What computes the units of work: ``local``, this machine, or ``ray``, a Ray cluster.
        address: Of the cluster, as ``ray.init`` takes it; None starts one on this machine.
        workers: Processes that share the units; each takes its part of the cores, or a GPU.
        isolate_plugins: Whether detectors that are not memdet's are computed in a process of their own, which gets no
            labels (:mod:`memdet.running.aside`).
        fetcher: Where remote models come from.
        loading: What of a model is loaded and put on it, by the model's name; the model as it is where nothing is said.

    Raises:
        UserError: A number that is no whole number of at least 1.
    """

    seeds: int | None = None
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    batch_size: int | None = None
    accelerate: Mode = "off"
    memo: bool = True
    engine: Engine = "local"
    address: str | None = None
    workers: int = 1
    isolate_plugins: bool = False
    fetcher: Fetcher = Fetcher()
    loading: Mapping[str, LoadOptions] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("seeds", "batch_size", "workers"):
            value = getattr(self, name)
            optional = value is None and name != "workers"
            if not optional and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UserError(f"`{name}` is {value!r}, not a whole number of at least 1", parameters=(name,))
