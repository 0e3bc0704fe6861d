"""Mitigations, one file a method, named after its paper; files of controls/ and methods/ are found by themselves."""

from memdet.mitigation.base import Mitigation, MitigationInfo
from memdet.mitigation.registry import make_mitigation, make_mitigations, mitigation_classes

__all__ = ["Mitigation", "MitigationInfo", "make_mitigation", "make_mitigations", "mitigation_classes"]
