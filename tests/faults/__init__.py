"""Faults that a run must survive, and scripts that try them at random."""
