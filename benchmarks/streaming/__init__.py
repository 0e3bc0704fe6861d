"""Memory and time of runs of many prompts: see ``python -m benchmarks.streaming --help``."""
