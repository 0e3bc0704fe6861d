"""Study: see docs."""
