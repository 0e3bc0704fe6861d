"""The planted class-conditional pixel models."""
