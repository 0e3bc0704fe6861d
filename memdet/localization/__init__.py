"""Where an item is memorized: `memdet localize`."""
