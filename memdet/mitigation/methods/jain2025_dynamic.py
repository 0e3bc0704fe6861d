"""No condition until the trajectory has left the attraction basin (Jain et al., CVPR 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler


class DynamicTransition(Mitigation):
    """The null branch alone until the first local minimum of ``norm(D)``, the protocol's guidance from then on.

    ``norm(D(x_i, t_i))`` is watched at each step i; where it was smaller one step ago than two steps ago and than now,
    this step is the first with guidance. A trajectory without such a minimum gets none.

    Paper: Jain et al., "Classifier-Free Guidance Inside the Attraction Basin May Cause Memorization", CVPR 2025, arXiv
    2411.16738.

    Attributes:
        before: What is followed before the transition: 0 the null branch, as the paper writes; 1 the condition alone,
            as the official script does.
    """

    info = MitigationInfo(
        name="jain2025-dynamic",
        title="null branch until the first local minimum of the score difference, then guidance",
        paper="jain2025classifier",
        year=2025,
        access="score",
        cost="2 T F",
        fidelity="faithful",
    )
    before: Literal[0, 1] = 0

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: The model has no null branch.
        """
        from memdet.mitigation.transition import until_minimum

        return until_minimum(sampler, float(self.before))
