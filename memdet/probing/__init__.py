"""Probe: memoised evaluations, trajectories and cost counters.

The public names load what they need when they are first used; items need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memdet.probing.branch_policy import Branch
    from memdet.probing.context import Context, Policy
    from memdet.probing.cost import Cost
    from memdet.probing.items import Items
    from memdet.probing.memo import ChangedInPlaceError
    from memdet.probing.probe import Probe
    from memdet.probing.seed_memory import SeedMemory
    from memdet.probing.trajectory import Trajectory

_HOMES = {
    "Branch": "branch_policy",
    "ChangedInPlaceError": "memo",
    "Context": "context",
    "Cost": "cost",
    "Items": "items",
    "Policy": "context",
    "Probe": "probe",
    "SeedMemory": "seed_memory",
    "Trajectory": "trajectory",
}

__all__ = ["Branch", "ChangedInPlaceError", "Context", "Cost", "Items", "Policy", "Probe", "SeedMemory", "Trajectory"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
