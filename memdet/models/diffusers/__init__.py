"""Directories in the layout of diffusers, one file a family of pipelines."""
