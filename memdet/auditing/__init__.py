"""What controls alone can tell of a sample set: `memdet audit`."""
