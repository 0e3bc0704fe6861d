"""Probe: memoised evaluations, trajectories and cost counters."""

from memdet.probing.cost import Cost
from memdet.probing.probe import Branch, Items, Probe
from memdet.probing.trajectory import Trajectory

__all__ = ["Branch", "Cost", "Items", "Probe", "Trajectory"]
