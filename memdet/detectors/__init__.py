"""Detectors, one file a method, named after its paper; every file here but two is found by itself."""

from memdet.detectors.base import Access, Detector, DetectorInfo, Headline
from memdet.detectors.registry import detector_classes, make_detector, make_detectors, with_controls

__all__ = [
    "Access",
    "Detector",
    "DetectorInfo",
    "Headline",
    "detector_classes",
    "make_detector",
    "make_detectors",
    "with_controls",
]
