"""Property tests know no clock: a busy machine fails none of them."""

from hypothesis import settings

settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")
