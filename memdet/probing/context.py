"""Under what a probe asks: the protocol, the seed, and how evaluations are organised."""

from __future__ import annotations

from dataclasses import dataclass

from memdet.samplesets.spec import Protocol

DEFAULT_PROTOCOL = Protocol(steps=50, guidance=7.5, seeds=1, noise="shared")  # what a diffusers pipeline does unasked


@dataclass(frozen=True)
class Policy:
    """How evaluations are organised; scores and counted costs do not depend on it, but for rounding.

    Attributes:
        memo: Whether detectors share evaluations; False forgets everything between them.
        self_check: Whether Jacobian operators test themselves on one item, once a seed and backend.
        join_branches: Whether both branches are evaluated in one network call where that pays.
        exact_in_half: Whether half precision takes forward AD in place of finite differences, which rounding drowns
            there; False for who measures how much.
    """

    memo: bool = True
    self_check: bool = True
    join_branches: bool = True
    exact_in_half: bool = True


@dataclass(frozen=True)
class Context:
    """Under what the items of a batch are asked about.

    Attributes:
        protocol: Steps and guidance of the default trajectory, and whether items share their noise.
        seed: Of all draws.
        n_items: Items over which shared evaluations are divided: of the model in the sample set; None for the batch's.
        policy: How evaluations are organised.
    """

    protocol: Protocol
    seed: int = 0
    n_items: int | None = None
    policy: Policy = Policy()
