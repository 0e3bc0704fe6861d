"""Former names: what was imported from ``memdet.reports`` before each feature had its own room.

A name warns when it is imported, and says where it is now.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

_NOW = {
    "memdet.reports": ("memdet.tables", ("FIELDS", "FORMATS", "report_rows")),
    "memdet.reports.gate": ("memdet.gate.check", ("check_run",)),
    "memdet.reports.page": ("memdet.page", ("to_html",)),
    "memdet.reports.scan": ("memdet.scan", ("FORMATS", "scan_result", "to_html", "to_look_at")),
}


class _Former(ModuleType):
    """A module whose names lie in another one."""

    def __getattr__(self, name: str) -> Any:
        home, names = _NOW[self.__name__]
        if name not in names:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        warnings.warn(f"{self.__name__}.{name} is now {home}.{name}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(home), name)


sys.modules[__name__].__class__ = _Former
for _name in _NOW:
    if _name != __name__:
        sys.modules[_name] = _Former(_name)
