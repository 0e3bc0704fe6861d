"""The planted Stable Diffusion pipelines."""
