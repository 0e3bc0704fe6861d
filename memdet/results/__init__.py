"""A run: its manifest, its scores and what its items were. Imports no torch."""
