"""A miniature of the planted data set."""

from memdet.zoo.tiny_sd.planting import Role

SMALL_FILLER = 20
SMALL_VARIANTS = 4
SMALL_ROLES = {
    "verbatim": Role(8, 6),
    "single": Role(8, 1),
    "copies-4": Role(2, 4),
    "copies-16": Role(3, 16),
    "copies-64": Role(2, 64),
    "template": Role(4, 2, SMALL_VARIANTS),
    "narrow": Role(4, 2, SMALL_VARIANTS),
    "unseen": Role(5, 0),
}
