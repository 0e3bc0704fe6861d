"""Whether the first token takes most of the attention of ordinary prompts, as some attention methods suppose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from memdet.probing import Probe

Sink = Literal["required", "any"]
SMALLEST_SINK = 0.5  # of the attention, averaged over layers, heads and pixels
ORDINARY_PROMPTS = (
    "a photo of a dog",
    "a red car parked in the street",
    "two people walking on the beach at sunset",
    "a bowl of fruit on a wooden table",
    "a painting of a mountain lake",
    "a woman reading a book in a garden",
    "an old house with a green door",
    "a drawing of a cat sitting on a chair",
)


def demand_sink(probe: Probe, step: int) -> None:
    """Refuse a model whose ordinary prompts pay most attention to other tokens than the first.

    Args:
        probe: Whose model is asked, once a seed; nobody pays for it.
        step: Of the guided trajectory, where the method looks.

    Raises:
        NotApplicableError: The first token takes half of the attention or less.
    """
    constants, key = probe.evaluator.memory.constants, ("sink of the first token", step)
    if key not in constants:
        constants.put(key, first_token_mass(probe, step), "the attention of ordinary prompts")
    mass: float = constants.get(key)
    if mass <= SMALLEST_SINK:
        raise NotApplicableError(
            f"the first token takes {mass:.2f} of the attention of ordinary prompts; the method supposes more than "
            f"{SMALLEST_SINK:g}, as in Stable Diffusion (sink=any scores all the same)"
        )


def first_token_mass(probe: Probe, step: int) -> float:
    """Mean attention of :data:`ORDINARY_PROMPTS` to the first token, over all layers, heads and pixels.

    Args:
        probe: Its model, protocol and seed count; its items do not.
        step: Of the guided trajectory.
    """
    import torch

    from memdet.probing import Context, Items

    names = [f"ordinary-{index}" for index in range(len(ORDINARY_PROMPTS))]
    items = Items(names, ORDINARY_PROMPTS, names, [0] * len(names), has_prompts=True)
    context = probe.evaluator.context
    ordinary = type(probe)(probe.model, items, Context(context.protocol, context.seed))
    trajectory = ordinary.trajectory()
    layers = ordinary.attention(trajectory.state(step), trajectory.timesteps[step], "cond")
    return float(torch.stack([layer.weights[..., 0].double().mean() for layer in layers]).mean())
