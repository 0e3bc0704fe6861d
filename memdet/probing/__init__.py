"""Probe: memoised evaluations, trajectories and cost counters."""

from memdet.probing.branch_policy import Branch
from memdet.probing.context import Context, Policy
from memdet.probing.cost import Cost
from memdet.probing.items import Items
from memdet.probing.memo import ChangedInPlaceError
from memdet.probing.probe import Probe
from memdet.probing.seed_memory import SeedMemory
from memdet.probing.trajectory import Trajectory

__all__ = ["Branch", "ChangedInPlaceError", "Context", "Cost", "Items", "Policy", "Probe", "SeedMemory", "Trajectory"]
