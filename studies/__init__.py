"""What makes this repository's own documents; not part of the package."""
