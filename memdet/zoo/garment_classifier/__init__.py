"""The classifier of garments that judges generations: how it is trained, and its card."""
