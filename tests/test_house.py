"""How the house is built: rooms, floors and what nobody should have to read."""

import ast
import re
from collections import Counter

import pytest

from tests.helpers.source import ROOT, modules

SOURCE = modules("memdet", "studies")
LARGEST_ROOM = 0.12  # of the lines of the package
LONGEST_FUNCTION, MOST_PARAMETERS, LONGEST_FILE = 60, 8, 400


def imports(name: str) -> set[str]:
    """Modules of the house that one imports, wherever in the file, for the sake of types too."""
    found = set()
    for node in ast.walk(ast.parse(SOURCE[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (submodules & SOURCE.keys()) or {node.module}
    return found & SOURCE.keys() - {name}


@pytest.mark.slow
def test_no_file_imports_itself_through_others():
    left = {name: imports(name) for name in SOURCE}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}, "a circle, or what imports one"


def test_no_room_is_larger_than_an_eighth_of_the_house():
    """A room is a folder."""
    lines = Counter()
    for name, path in SOURCE.items():
        if name.startswith("memdet"):
            lines[str(path.parent)] += path.read_text().count("\n")
    (room, largest), *_ = lines.most_common()
    assert largest <= LARGEST_ROOM * lines.total(), room


def test_no_file_is_longer_than_a_few_pages():
    assert [name for name, path in SOURCE.items() if path.read_text().count("\n") > LONGEST_FILE] == []


@pytest.mark.parametrize("name", SOURCE)
def test_long_functions_and_many_parameters_say_why(name):
    """A comment after the opening parenthesis, or after the colon of a definition on one line, gives the reason."""
    text = SOURCE[name].read_text()
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        arguments = node.args
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        many = len([one for one in given if one.arg not in {"self", "cls"}]) > MOST_PARAMETERS
        long = node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
        if many or long:
            assert re.search(r"\S  # \w", lines[node.lineno - 1]), f"{node.name} in line {node.lineno}: why?"


@pytest.mark.slow
def test_only_the_command_line_speaks_of_its_flags():
    """Functions of the library name parameters; the command line shows them as its options."""
    told = []
    for name, path in SOURCE.items():
        if name.startswith(("memdet.cli", "studies")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and "--" in ast.unparse(node).replace("---", ""):
                told += [f"{name}:{node.lineno}"] if re.search(r"(?<![-\w])--[a-z]", ast.unparse(node)) else []
    assert told == []


def test_one_place_replaces_files():
    writers = [
        name
        for name, path in SOURCE.items()
        if re.search(r"\bos\.replace\(|\.partial\b", path.read_text()) and name != "memdet.io_utils"
    ]
    assert writers == []


def test_the_wheel_holds_the_package_alone():
    import tomllib

    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["packages"] == ["memdet"]
    assert not any(name.startswith(("studies", "tests")) for name in build["force-include"])
