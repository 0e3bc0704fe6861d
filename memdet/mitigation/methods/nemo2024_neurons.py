"""Neurons of the caption's values that are off (NeMo, Hintersdorf et al., NeurIPS 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat

from memdet.errors import NotApplicableError
from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from memdet.mitigation.inside import Layers
    from memdet.mitigation.sampler import Sampler
    from memdet.probing import Probe

WINDOW, SMALLEST_WINDOW = 7, 3
FIRST_SCORE, LAST_SCORE, LESS = 5.0, 1.0, 0.25  # thresholds of z-scores, from the strictest down
Neurons = dict[str, list[int]]
Reference = Mapping[str, "tuple[Tensor, Tensor]"]


class MemorizationNeurons(Mitigation):
    """The protocol's generation with those neurons off that make a caption's first predictions alike.

    Neurons are outputs of the value projections of cross-attention in the down and middle blocks; the activation of one
    is its mean absolute value over the tokens. Two predictions are alike by the SSIM of ``eps_c(x_T, T) - x_T``, each
    channel scaled to [0, 1], as in the detector ``nemo2024``. Of the noises those count whose prediction is like that
    of another one; without any, nothing is off. Else the neurons are off whose z-score against ordinary captions
    exceeds 5, then 4.75 and so on down to 1, and the strongest one, two and so on, until no prediction is like what it
    was without. Then a layer, and after it a neuron, that does without being off is on again.

    Paper: Hintersdorf, Struppek et al., "Finding NeMo: Localizing Neurons Responsible for Memorization in Diffusion
    Models", NeurIPS 2024, arXiv 2406.02366. Ordinary captions are the items of the dev split with label 0. Both
    branches are generated with the neurons off, as in the official code.

    Attributes:
        draws: Noises that are looked at, the item's own among them.
        similarity: SSIM above which two predictions are alike.
        refined: How many layers and neurons are tried on again, at most.
    """

    info = MitigationInfo(
        name="nemo2024-neurons",
        title="neurons of the value projections that a memorized caption excites, off",
        paper="hintersdorf2024finding",
        year=2024,
        access="activations",
        cost="2 T F + 18 draws F + refined draws F",
        fidelity="deviates",
        deviation=(
            "SSIM has one scale and uniform windows of 7 x 7, as in the detector nemo2024, for latents that are too "
            "small for three scales. After so many trials as `refined` says what is off stays off."
        ),
    )
    draws: Annotated[int, Field(ge=2)] = 10
    similarity: PositiveFloat = 0.428
    refined: NonNegativeInt = 50

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: The model has no cross-attention to text or no images, or the set no dev split.
        """
        import torch

        from memdet.mitigation.inside import activations, silenced

        shape = sampler.model.latent_shape
        if len(shape) != 3 or min(shape[1:]) < SMALLEST_WINDOW:
            raise NotApplicableError(f"SSIM compares images, the model's samples have the shape {shape}")
        layers = _early(sampler.model.cross_attention())
        reference: Reference = sampler.whole.probe.calibrate(self.info.name, lambda dev: _reference(dev, layers))
        excited = activations(layers, sampler.embedding)
        ends = []
        for row in range(len(sampler)):
            own = {path: values[row] for path, values in excited.items()}
            off = self._found(sampler.only([row]), layers, own, reference)
            with silenced(layers, off):
                part = sampler.only([row])
                ends.append(part.follow(part.start()))
        return torch.cat(ends)

    def _found(self, one: Sampler, layers: Layers, own: Mapping[str, Tensor], reference: Reference) -> Neurons:
        """Which neurons of one item are off."""
        predictions = _predictions(one, self.draws, layers, {})
        alike = _alike(predictions, self.similarity)
        if not alike:
            return {}

        def likeness(off: Neurons) -> float:
            again = _predictions(one, self.draws, layers, off)
            return max(_ssim(predictions[draw], again[draw]) for draw in alike)

        score, strongest, limit = FIRST_SCORE, 0, self.similarity
        off = _excited(own, reference, score, strongest)
        while (reached := likeness(off)) > self.similarity:
            if score <= LAST_SCORE:
                limit = reached
                break
            score, strongest = score - LESS, strongest + 1
            off = _excited(own, reference, score, strongest)
        return _refined(off, likeness, limit, self.refined)


def _early(layers: Layers) -> Layers:
    """Those of the down and middle blocks."""
    kept = {path: layer for path, layer in layers.items() if path.startswith(("down_blocks", "mid_block"))}
    if not kept:
        raise NotApplicableError("the network has no cross-attention in down and middle blocks")
    return kept


def _reference(dev: Probe, layers: Layers) -> Reference:
    """Mean and standard deviation of each neuron over the dev items that are not memorized."""
    from memdet.mitigation.inside import activations

    chosen = [index for index, label in enumerate(dev.labels) if label == 0]
    if len(chosen) < 2:
        raise NotApplicableError(f"a reference takes two dev items that are not memorized, there are {len(chosen)}")
    texts = dev.model.embed([dev.evaluator.items.conditions[index] for index in chosen])
    if texts.differentiable is None:
        raise NotApplicableError(f"the conditions of {dev.model.name} are no embedding")
    found = activations(layers, texts[texts.differentiable])
    return {path: (values.mean(dim=0), values.std(dim=0)) for path, values in found.items()}


def _predictions(one: Sampler, draws: int, layers: Layers, off: Neurons) -> list[NDArray[np.float64]]:
    """First noise differences of one item from several noises, each channel in [0, 1]."""
    import torch

    from memdet.mitigation.inside import silenced

    several = one.only([0] * draws)
    x, t = torch.cat([one.start(draw) for draw in range(draws)]), one.timesteps[0]
    with silenced(layers, off):
        change = (several.eps(x, t, several.condition) - x).double()
    least, most = change.amin(dim=(2, 3), keepdim=True), change.amax(dim=(2, 3), keepdim=True)
    return list(((change - least) / (most - least).where(most > least, 1.0)).cpu().numpy())


def _alike(predictions: list[NDArray[np.float64]], similarity: float) -> list[int]:
    """Draws whose prediction is like that of another one."""
    n = len(predictions)
    likeness = {(i, j): _ssim(predictions[i], predictions[j]) for i in range(n) for j in range(i)}
    return [i for i in range(n) if max(likeness[max(i, j), min(i, j)] for j in range(n) if j != i) > similarity]


def _ssim(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    from skimage.metrics import structural_similarity

    smallest = min(one.shape[1:])
    window = min(WINDOW, smallest - 1 + smallest % 2)
    return float(structural_similarity(one, other, win_size=window, data_range=1.0, channel_axis=0))


def _excited(own: Mapping[str, Tensor], reference: Reference, score: float, strongest: int) -> Neurons:
    """Neurons of each layer beyond a z-score, and so many of the strongest."""
    off = {}
    for path, values in own.items():
        mean, deviation = reference[path]
        beyond = ((values - mean).abs() / deviation > score).nonzero().flatten().tolist()
        off[path] = sorted({*beyond, *values.topk(min(strongest, len(values))).indices.tolist()})
    return off


def _refined(off: Neurons, likeness: Callable[[Neurons], float], limit: float, trials: int) -> Neurons:
    """Layers, then neurons, that the likeness stays below the limit without, are on again; the last ones first."""
    for path in [path for path in reversed(off) if off[path]]:
        if trials == 0:
            return off
        trials -= 1
        without = off | {path: []}
        if likeness(without) < limit:
            off = without
    for path in [path for path in reversed(off) if off[path]]:
        for neuron in list(off[path]):
            if trials == 0:
                return off
            trials -= 1
            without = off | {path: [one for one in off[path] if one != neuron]}
            if likeness(without) < limit:
                off = without
    return off
