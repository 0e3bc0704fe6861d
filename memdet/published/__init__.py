"""What papers report of detectors on the published prompt sets, and a run held against it."""
