"""A small, real, unconditional pipeline of colour clip art with planted memorization."""
