"""Worlds: the models that share data, network and training, and their sample sets of whole copies. Imports no torch."""

from __future__ import annotations

from memdet.errors import UserError
from memdet.samplesets import load_spec, sample_set_ids

QUESTION = "verbatim"  # of a sample set: copies of one image against images that were seen once


def worlds() -> dict[str, list[str]]:
    """Ids of the sample sets on which the claims can be posed, by their world, sorted.

    These are the sets of prompts or classes that ask ``QUESTION``; one that names no world belongs to none.

    Example:
        >>> worlds()["grey"]
        ['tiny-sd-a-verbatim', 'tiny-sd-b-verbatim']
    """
    found: dict[str, list[str]] = {}
    for name in sample_set_ids():
        spec = load_spec(name)
        if spec.world is not None and spec.question == QUESTION and spec.task == "prompt":
            found.setdefault(spec.world, []).append(name)
    return dict(sorted(found.items()))


def sets_of(world: str) -> list[str]:
    """Ids of a world's sample sets.

    Raises:
        UserError: Unknown world, or one without such a set.
    """
    known = worlds()
    if world not in known:
        raise UserError(
            f"`world` {world!r} has no sample set of the question {QUESTION}; known worlds: {', '.join(known)}",
            parameters=("world",),
        )
    return known[world]
