"""Probe: memoised evaluations, trajectories and cost counters."""

from memdet.probing.cost import Cost
from memdet.probing.evaluations import Branch
from memdet.probing.items import Items
from memdet.probing.probe import Probe
from memdet.probing.trajectory import Trajectory

__all__ = ["Branch", "Cost", "Items", "Probe", "Trajectory"]
