"""What detectors would cost on a model that nobody runs here: `memdet bench plan`."""
