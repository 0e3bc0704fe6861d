"""Plugin files: Python files of a user that define detectors."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from memdet.errors import UserError

_PREFIX = "memdet_plugin_"


@cache
def load_plugin(path: Path) -> ModuleType:
    """Run a plugin file, once a process.

    Args:
        path: Absolute.

    Raises:
        UserError: The file is missing, is no Python file, or raises or exits.
    """
    if path.is_dir():
        raise UserError(f"plugin {path} is a directory; name a Python file in it")
    if not path.is_file():
        raise UserError(f"plugin {path} does not exist")
    name = f"{_PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"plugin {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the plugin author's mistake, whatever it is
        raise UserError(f"plugin {path} cannot be loaded: {type(error).__name__}: {reason(error)}") from error
    return module


def reason(error: BaseException) -> str:
    """What an exception of somebody else's code says, in one line."""
    return " ".join(str(error).split())


def remake(module: str, file: str | None, name: str, options: dict[str, Any]) -> Any:
    """An object of a class in another process than the one that made it first, which may be that of a plugin file.

    Args:
        module, file, name: Of its class.
        options: Keywords of the constructor.
    """
    if module.startswith(_PREFIX) and file is not None:
        found = getattr(load_plugin(Path(file)), name)
    else:
        found = getattr(importlib.import_module(module), name)
    return found(**options)
