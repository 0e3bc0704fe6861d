"""Points of comparison, found by themselves."""
