"""Entropy of the cross-attention over the last steps (Ren et al., ECCV 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.detectors.sink import Sink, demand_sink

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class AttentionEntropy(Detector):
    """``mean_i E_i + mean_i abs(P_i - P_first)`` over the last fifth of the guided steps i.

    ``E_i = sum_k -a_k log a_k`` over all tokens k. ``P_i`` is the same sum over the summary tokens only, which are the
    end token and the padding after it. a_k is the conditional branch's cross-attention at step i, averaged over heads,
    pixels and all layers before the entropy is taken.

    Paper: Ren et al., "Unveiling and Mitigating Memorization in Text-to-image Diffusion Models through Cross
    Attention", ECCV 2024, arXiv 2403.11052. Late in the trajectory, the attention of an ordinary prompt gathers on the
    first token (the sink); with a memorized prompt it stays on other tokens. In models whose ordinary prompts have no
    sink, the paper's argument does not hold, see ``sink``. The official code enlarges small attention maps before it
    averages maps of different resolutions; this is the mean of the layers' means, as here.

    Attributes:
        change: ``absolute``, as the paper writes, or ``signed``: ``mean_i P_i - P_first``, as the official code
            computes.
        sink: ``required``: the detector is not applicable unless the first token takes more than half of the attention
            of ordinary prompts. ``any``: it scores in any case.
    """

    info = DetectorInfo(
        name="ren2024-entropy",
        title="entropy of cross-attention over the last steps, plus the change of its part on the summary tokens",
        paper="ren2024unveiling",
        year=2024,
        version=2,
        access="attention",
        task="prompt",
        cost="(2 T - 1) F (1 F less with shared noise)",
        fidelity="faithful",
        headline=Headline(guidance=7.5, source="last 10 of 50 steps"),
    )
    change: Literal["absolute", "signed"] = "absolute"
    sink: Sink = "required"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        trajectory, ends = probe.trajectory(), probe.end_positions
        steps = len(trajectory.timesteps)
        if self.sink == "required":
            demand_sink(probe, steps - 1)

        def entropies(index: int) -> tuple[Tensor, Tensor]:
            """Of all tokens and of the summary tokens, at one step."""
            layers = probe.attention(trajectory.state(index), trajectory.timesteps[index], "cond")
            attention = torch.stack([layer.weights.double().flatten(1, 2).mean(dim=1) for layer in layers]).mean(dim=0)
            terms = torch.special.entr(attention)
            is_summary = torch.arange(terms.shape[1], device=terms.device) >= ends[:, None]
            return terms.sum(dim=1), (terms * is_summary).sum(dim=1)

        _, early = entropies(0)
        scores = []
        for index in range(steps - max(1, steps // 5), steps):
            total, summary = entropies(index)
            change = summary - early
            scores.append(total + (change.abs() if self.change == "absolute" else change))
        return torch.stack(scores).mean(dim=0)
