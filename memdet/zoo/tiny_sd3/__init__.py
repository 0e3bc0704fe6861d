"""Small, real Stable Diffusion 3 pipelines of colour clip art with planted memorization."""
