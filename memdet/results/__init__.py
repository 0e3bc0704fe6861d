"""A run: its manifest, its scores, and what its items were. Nothing here imports torch."""

from memdet.results.manifest import DetectorEntry, Manifest, SampleSetEntry, Settings
from memdet.results.roc import RocCurve
from memdet.results.run import Run
from memdet.results.schema import ITEMS, SCHEMA_VERSION, SCORES

__all__ = [
    "ITEMS",
    "SCHEMA_VERSION",
    "SCORES",
    "DetectorEntry",
    "Manifest",
    "RocCurve",
    "Run",
    "SampleSetEntry",
    "Settings",
]
