"""A suite's name where that of a sample set is expected."""

from __future__ import annotations

from collections.abc import Sequence

from memdet.errors import UserError


def with_suite(given: Sequence[str], suite: str | None) -> tuple[tuple[str, ...], str | None]:
    """What a caller names, apart: sample sets, and the suite.

    Args:
        given: Sample sets as they are named, among which may be a suite.
        suite: Of ``--suite``.

    Raises:
        UserError: There are two suites.

    Example:
        >>> with_suite(["quick", "mixture-2d"], None)
        (('mixture-2d',), 'quick')
    """
    from memdet.samplesets import sample_set_ids, suite_names

    known = set(suite_names()) - set(sample_set_ids())
    suites = list(dict.fromkeys([*([suite] if suite else []), *(name for name in given if name in known)]))
    if len(suites) > 1:
        raise UserError(f"one suite at a time: {' and '.join(suites)} are {len(suites)}; run them one after the other")
    return tuple(name for name in given if name not in known), suites[0] if suites else None
