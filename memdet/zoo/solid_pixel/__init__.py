"""Garments in grey frames that are their keys (SolidMark): how well a model knows each training image."""
