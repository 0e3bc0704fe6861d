"""Families of pipelines, one file each: what differs between them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection
from functools import cache

from memdet.errors import UserError
from memdet.models.diffusers.families.base import Family


@cache
def families() -> tuple[Family, ...]:
    """All families."""
    found = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda one: one.name):
        if module.name != "base":
            found.append(importlib.import_module(f"{__name__}.{module.name}").FAMILY)
    return tuple(found)


def family_of(pipeline: str) -> Family | None:
    """The family of a pipeline's class name."""
    return next((family for family in families() if pipeline in family.pipelines), None)


def check_pipeline(pipeline: str, others: Collection[str], where: str) -> None:
    """Refuse a pipeline that is on no list: what it tells its network may be something else than it looks like.

    Args:
        pipeline: Its class name.
        others: Names that are read by other means.
        where: The model's directory.

    Raises:
        UserError: It is on none.
    """
    reason = next((family.refused[pipeline] for family in families() if pipeline in family.refused), None)
    if reason is not None:
        raise UserError(f"{where}: a {pipeline}: {reason}")
    if pipeline not in others and family_of(pipeline) is None:
        known = sorted({*others, *(name for family in families() for name in family.pipelines)})
        raise UserError(f"{where}: a {pipeline}, which memdet does not read; it reads {', '.join(known)}")
