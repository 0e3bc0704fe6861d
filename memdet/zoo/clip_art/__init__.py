"""Colour clip art: motifs, pictures composed of them, captions that say what is there."""
