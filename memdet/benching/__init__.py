"""What detectors cost on a machine: `memdet bench`."""
