"""A stand-in hub in place of the real one, for the tests of this folder."""

from tests.helpers.stand_in_hub import hub, server

__all__ = ["hub", "server"]  # fixtures
