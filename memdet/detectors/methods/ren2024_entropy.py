"""Entropy of the cross-attention over the last steps (Ren et al., ECCV 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class AttentionEntropy(Detector):
    """``mean_i E_i + mean_i P_i - P_first`` over the last fifth of the guided steps i.

    ``E_i = sum_k -a_k log a_k`` over all tokens k and ``P_i`` the same sum over the padding alone, with a_k the
    conditional branch's cross-attention at step i, averaged over heads, pixels and all layers before the entropy is
    taken.

    Paper: Ren et al., "Unveiling and Mitigating Memorization in Text-to-image Diffusion Models through Cross
    Attention", ECCV 2024, arXiv 2403.11052: late in the trajectory attention otherwise gathers on the start token,
    and with a memorized prompt it stays on others. Their code averages maps of different resolutions after repeating
    the small ones, which is the mean of the layers' means, as here. It counts the end token among the padding;
    ``padding="with-end"`` does.

    Attributes:
        padding: The tokens after the end token, or those and the end token.
    """

    info = DetectorInfo(
        name="ren2024-entropy",
        title="entropy of cross-attention over the last steps, and the growth of its part on padding",
        paper="ren2024unveiling",
        year=2024,
        access="attention",
        task="prompt",
        cost="(2 T - 1) F (1 F less with shared noise)",
    )
    padding: Literal["after-end", "with-end"] = "after-end"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        trajectory, ends = probe.trajectory(), probe.end_positions
        first_padding = ends + 1 if self.padding == "after-end" else ends

        def entropies(index: int) -> tuple[Tensor, Tensor]:
            """Of all tokens and of the padding, at one step."""
            layers = probe.attention(trajectory.state(index), trajectory.timesteps[index], "cond")
            attention = torch.stack([layer.weights.double().flatten(1, 2).mean(dim=1) for layer in layers]).mean(dim=0)
            terms = torch.special.entr(attention)
            is_padding = torch.arange(terms.shape[1], device=terms.device) >= first_padding[:, None]
            return terms.sum(dim=1), (terms * is_padding).sum(dim=1)

        steps = len(trajectory.timesteps)
        _, early = entropies(0)
        late = [entropies(index) for index in range(steps - max(1, steps // 5), steps)]
        return torch.stack([total + padding for total, padding in late]).mean(dim=0) - early
