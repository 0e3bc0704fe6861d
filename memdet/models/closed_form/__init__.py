"""Closed forms: score models whose curvature is known exactly."""
