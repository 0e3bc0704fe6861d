"""Detectors of papers and ours, one file a method; every file here is found by itself."""
