"""The accuracy gate: a run against a baseline run, `memdet check`."""
