"""Batches of a sample set, as probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.models import ScoreModel
from memdet.probing import Context, Items, Policy, Probe, SeedMemory
from memdet.probing.from_sample_set import dev_items, items_of, items_of_whole
from memdet.samplesets import SampleSet

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["dev_items", "items_of", "items_of_whole", "probe_of"]


def probe_of(  # what the batches of a seed share is given, and what is made already
    part: pd.DataFrame,
    sample_set: SampleSet,
    model: ScoreModel,
    *,
    seed: int = 0,
    n_items: int | None = None,
    policy: Policy | None = None,
    memory: SeedMemory | None = None,
    items: Items | None = None,
    dev: Items | None = None,
    kind: type[Probe] = Probe,
) -> Probe:
    """A probe of some rows under the sample set's protocol, with the dev items of the same model.

    Args:
        part: Rows of the sample set's table.
        sample_set: Whose protocol holds.
        model: Of the rows.
        seed, n_items, policy: As for :class:`memdet.probing.Context`.
        memory: What the batches of the seed share.
        items, dev: Those of ``part``, and :func:`dev_items`, where they are made already.
        kind: Class of the probe.

    Raises:
        UserError: An image of another shape than the model takes.
    """
    if dev is None:
        dev = dev_items(sample_set, part["model"].unique(), model)
    if items is None:
        items = items_of(part, sample_set, model)
    context = Context(sample_set.protocol, seed, n_items, policy or Policy())
    return kind(model, items, context, memory=memory, dev=dev)
