"""How tables are drawn: a file a format, and no drawing anywhere else."""
