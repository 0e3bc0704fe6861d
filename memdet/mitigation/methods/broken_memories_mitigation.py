"""Steps that stay as long as those of ordinary captions ("Broken Memories", KDD 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveFloat

from memdet.errors import NotApplicableError
from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler
    from memdet.probing import Probe

SMALLEST_SPREAD = 1e-6  # of the mean length; below it a spread is rounding


class StableSteps(Mitigation):
    """A step of unusual length is made again from a clean sample of usual norm, and clamped to the usual lengths.

    The length ``norm(z_t - z_{t+1})`` of a step is unusual outside ``mu_t +- width sd_t``: mean and sample standard
    deviation over the items of the dev split with label 0, on the guided trajectory under the same seed, as in the
    detector ``broken-memories``. There ``x0^`` is rescaled to the mean norm that it has at this step over the same
    items, the step is made again, and its length is clamped to those bounds; its direction stays. Steps at which the
    reference does not vary are left as they are.

    Paper: Huang, Zhang, Chen, Li, Hong, You, Yang, "Broken Memories", KDD 2026, arXiv 2605.22050.

    Attributes:
        width: Of the stable region, in standard deviations.
    """

    info = MitigationInfo(
        name="broken-memories-mitigation",
        title="clean sample rescaled to its usual norm where a step is of unusual length, which is clamped",
        paper="huang2026broken",
        year=2026,
        access="score",
        cost="2 T F",
        fidelity="deviates",
        deviation=(
            "the authors publish no code, and the width of their region is not known: three standard deviations. Steps "
            "that are too short are lengthened, too."
        ),
    )
    width: PositiveFloat = 3.0

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: The sample set has no dev split with two items that are not memorized, or these do not
                differ.
        """
        import torch

        mean, deviation, norm = sampler.whole.probe.calibrate(self.info.name, _reference)
        x = sampler.start()
        for index, t in enumerate(sampler.timesteps):
            output = sampler.guided(x, t, sampler.guidance)
            after = sampler.step(index, x, output)
            least, most = mean[index] - self.width * deviation[index], mean[index] + self.width * deviation[index]
            length = _lengths(after - x)
            unusual = ((length < least) | (length > most)) & (deviation[index] > SMALLEST_SPREAD * mean[index])
            if unusual.any():
                made_again = sampler.step(index, x, _rescaled(sampler, x, t, output, norm[index]))
                after = torch.where(_as(unusual, x), _clamped(x, made_again, least, most), after)
            x = after
        return x


def _reference(dev: Probe) -> tuple[Tensor, Tensor, Tensor]:
    """Of what is not memorized: mean and deviation of each step's length, and mean norm of x0^, ``[steps]`` each."""
    import torch

    from memdet.models.prediction_type import x0_from_output

    chosen = [index for index, label in enumerate(dev.labels) if label == 0]
    if len(chosen) < 2:
        raise NotApplicableError(f"a reference takes two dev items that are not memorized, there are {len(chosen)}")
    trajectory, schedule, kind = dev.trajectory(), dev.model.schedule, dev.model.prediction_type
    lengths, norms = [], []
    for index, t in enumerate(trajectory.timesteps):
        x, output = trajectory.state(index), trajectory.guided_output(index)
        lengths.append(_lengths(trajectory.state(index + 1) - x)[chosen])
        if kind == "eps" and schedule.is_pure_noise(t):
            norms.append(torch.zeros_like(lengths[-1]))  # what such a network says of the clean sample is nothing
        else:
            clean = schedule.limited(x0_from_output(output, x, schedule.alpha(t), schedule.sigma(t), kind))
            norms.append(_lengths(clean)[chosen])
    each, of_clean = torch.stack(lengths), torch.stack(norms)
    mean, deviation = each.mean(dim=1), each.std(dim=1)
    if not (deviation > SMALLEST_SPREAD * mean).any():
        raise NotApplicableError("the reference items of the dev split do not differ at any step")
    return mean, deviation, of_clean.mean(dim=1)


def _rescaled(sampler: Sampler, x: Tensor, t: int, output: Tensor, norm: Tensor) -> Tensor:
    """The network output that predicts the same clean sample at another norm."""
    from memdet.models.prediction_type import output_from_x0

    schedule, kind = sampler.model.schedule, sampler.model.prediction_type
    if kind == "eps" and schedule.is_pure_noise(t):
        return output
    clean = sampler.clean_of(x, t, output)
    usual = clean * _as(norm / _lengths(clean).clamp_min(1e-12), x).to(x.dtype)
    return output_from_x0(usual, x, schedule.alpha(t), schedule.sigma(t), kind)


def _clamped(x: Tensor, after: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """Where a step ends if its length is to lie between bounds, in its own direction."""
    length = _lengths(after - x)
    factor = length.clamp(least.clamp_min(0), most) / length.clamp_min(1e-12)
    return x + _as(factor, x).to(x.dtype) * (after - x)


def _lengths(tensor: Tensor) -> Tensor:
    length: Tensor = tensor.double().flatten(1).norm(dim=1)
    return length


def _as(rows: Tensor, like: Tensor) -> Tensor:
    """A number a row, in the shape of the rows."""
    return rows.view(-1, *[1] * (like.ndim - 1))
