"""Runs and sample sets as data sets of the Hugging Face hub: their files, a card, and the upload."""
