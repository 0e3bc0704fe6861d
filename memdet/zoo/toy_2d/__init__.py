"""The network that learned the closed form `mixture-2d`."""
