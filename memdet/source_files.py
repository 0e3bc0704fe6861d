"""Python files of a user's own: running one, and which local files it reads. Imports no torch."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from memdet.errors import UserError

NOBODYS = {"memdet", "torch", "abc", "builtins", "typing", *sys.stdlib_module_names} - {"__main__"}
"""Packages whose code is memdet's or Python's, and no user's."""


def run_file(path: Path, name: str, what: str) -> ModuleType:
    """Run a Python file as a module of its own.

    Args:
        path: The file.
        name: Of the module.
        what: The file is, for errors.

    Raises:
        UserError: The file is missing, is no Python file, or raises or exits.
    """
    if path.is_dir():
        raise UserError(f"{what} {path} is a directory; name a Python file in it")
    if not path.is_file():
        raise UserError(f"{what} {path} does not exist")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{what} {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # Compiled here: Python's own cache of compiled files goes by size and seconds, which an edit can keep.
        with talking_aside():
            exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:  # its author's mistake, whatever it is
        raise UserError(f"{what} {path} cannot be loaded: {type(error).__name__}: {reason(error)}") from error
    return module


def talking_aside() -> AbstractContextManager[Any]:
    """Inside, what code of somebody else prints goes to standard error: standard output is that of the command."""
    return redirect_stdout(sys.stderr)


def reason(error: BaseException) -> str:
    """What an exception of somebody else's code says, in one line."""
    return " ".join(str(error).split())


@contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Inside, files of a folder can be imported by their names, as a script that lies there imports them."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def taken_from_elsewhere(path: Path) -> tuple[str, Path] | None:
    """A module that a file imports and that lies beside it, but of which this process has read another file.

    Returns:
        Its name, and the file that was read; None where all is well.
    """
    for name in _imported_by(path.read_bytes()):
        top = name.partition(".")[0]
        beside = [file for file in (path.parent / f"{top}.py", path.parent / top / "__init__.py") if file.is_file()]
        read = getattr(sys.modules.get(top), "__file__", None)
        if beside and read is not None and Path(read).resolve() not in {file.resolve() for file in beside}:
            return top, Path(read)
    return None


def _imported_by(content: bytes) -> list[str]:
    return [name for name, level in _imported(hashlib.sha256(content).hexdigest(), content) if level == 0]


def with_imports(start: Path) -> dict[Path, str]:
    """SHA-256 of a file and of the local files that it imports, directly or not."""
    found: dict[Path, str] = {}
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        try:
            content = path.read_bytes()
        except OSError:
            continue
        found[path] = hashlib.sha256(content).hexdigest()
        for name, level in _imported(found[path], content):
            waiting += _local_files(name, level, path)
    return found


@cache
def _imported(digest: str, content: bytes) -> tuple[tuple[str, int], ...]:
    """Names that a file imports, anywhere in it, and how far up relative ones begin; keyed by the content."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return ()
    return tuple(dict.fromkeys(_names_in(tree)))


def _names_in(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((alias.name, 0) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                yield from ((f"{module or ''}.{alias.name}".lstrip("."), level) for alias in names)
            case ast.Call(func=ast.Name(id="__import__") | ast.Attribute(attr="import_module"), args=[first, *_]):
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value, 0


def _local_files(name: str, level: int, importer: Path) -> list[Path]:
    """Files of a user's own that an import reads: of each package on the way, and of what is named."""
    parts = [part for part in name.split(".") if part != "*"]
    if level:
        folders = [importer.parents[level - 1]] if level <= len(importer.parents) else []
    else:
        if not parts or parts[0] in NOBODYS:
            return []
        top = _place_of(parts[0])
        if top is None or is_installed(top):
            return []
        folders = [top.parent if top.is_dir() or top.name != "__init__.py" else top.parent.parent]
    found = []
    for folder in folders:
        for part in parts:
            if not folder.is_dir():
                break
            found += [file for file in (folder / f"{part}.py", folder / part / "__init__.py") if file.is_file()]
            folder /= part
        if level and (folders[0] / "__init__.py").is_file():
            found.append(folders[0] / "__init__.py")
    return [file.resolve() for file in found]


def _place_of(top: str) -> Path | None:
    """File or folder of a module or package that is not inside another one; None where it has none."""
    module = sys.modules.get(top)
    try:
        spec = getattr(module, "__spec__", None) if module is not None else importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    file = getattr(module, "__file__", None) or getattr(spec, "origin", None)
    if file and Path(file).is_file():
        return Path(file).resolve()
    places = list(getattr(spec, "submodule_search_locations", None) or ())
    return Path(places[0]).resolve() if places else None


@cache
def _installed_places() -> tuple[Path, ...]:
    """Where packages and Python itself are installed; memdet wherever it is."""
    paths = sysconfig.get_paths()
    names = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    names += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple(Path(name).resolve() for name in names) + (Path(__file__).resolve().parent,)


def is_installed(path: Path) -> bool:
    """Whether a file belongs to Python, memdet or an installed package."""
    return any(path.is_relative_to(place) for place in _installed_places())
