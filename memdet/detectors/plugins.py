"""Plugin files: Python files of a user that define detectors."""

from __future__ import annotations

import hashlib
import importlib
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from memdet.detectors.unpatched import planted, replaced, restore, shared_functions
from memdet.errors import UserError
from memdet.source_files import run_file
from memdet.user_code import files_of, names_of_changed

_PREFIX = "memdet_plugin_"
_loaded: dict[Path, tuple[str, ModuleType]] = {}


def load_plugin(path: Path) -> ModuleType:
    """Run a plugin file, once a process while its content stays.

    Args:
        path: Absolute.

    Raises:
        UserError: The file is missing, is no Python file, raises or exits, or replaces functions of torch, NumPy or
            memdet while it is loaded.
    """
    content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    known, module = _loaded.get(path, ("", None))
    if module is not None and known == content:
        return module
    before = shared_functions()
    name = f"{_PREFIX}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    module = run_file(path, name, "plugin")
    if changed := [*replaced(before), *planted(path.parent)]:
        restore(before)
        raise UserError(
            f"plugin {path} replaces {', '.join(changed[:3])} when it is loaded, so that all detectors would score "
            "something else: have it leave alone what others use"
        )
    _loaded[path] = (content, module)
    return module


def remake(module: str, file: str | None, name: str, state: dict[str, Any], files: dict[str, str]) -> Any:
    """A detector in another process than the one that made it first; its class may be that of a plugin file.

    Args:
        module, file, name: Of its class.
        state: Its attributes.
        files: Checksums of the files of its class in the other process.

    Raises:
        UserError: The class is not to be found here, or is of other files.
    """
    whole = load_plugin(Path(file)) if module.startswith(_PREFIX) and file else importlib.import_module(module)
    try:
        cls = attrgetter(name)(whole)
    except AttributeError:
        raise UserError(f"detector class {name} of {module} is not found by another process: {AT_THE_TOP}") from None
    if changed := names_of_changed(files, files_of(cls)):
        raise UserError(f"detector class {name}: {', '.join(changed)} changed while the run was starting: start again")
    made = cls.__new__(cls)
    vars(made).update(state)
    return made


AT_THE_TOP = "define it at the top level of a file that can be imported, or give its file as a plugin"
