"""Runs of mitigations, and what they show: extraction that is left, utility that is lost, and at what cost."""
