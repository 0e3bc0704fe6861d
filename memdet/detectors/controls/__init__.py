"""Controls, which never call the model; every file here is found by itself."""
