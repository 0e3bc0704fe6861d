"""Formats of a table."""
