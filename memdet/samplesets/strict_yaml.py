"""From a YAML file to a checked spec, with errors of one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from memdet.errors import UserError
from memdet.given_files import LARGEST_SPEC, read_given
from memdet.samplesets.spec import PARTS

T = TypeVar("T", bound=BaseModel)
Location = tuple[int | str, ...]


class _Loader(yaml.SafeLoader):
    """Safe loader that refuses a key given twice, where YAML would keep the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, model: type[T]) -> T:
    """Read a YAML file into a pydantic model.

    Args:
        path: The file.
        model: What it must hold.

    Raises:
        UserError: Unreadable file, invalid YAML, or a field that is unknown, missing or wrong.
    """
    text = decode(read_given(path, LARGEST_SPEC), path)
    data = parse_yaml(text, path)
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected fields (name: value), found {type(data).__name__}; see {_example(model)}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(_explain(error, path, text, model)) from None


def parse_yaml(text: str, path: Path) -> Any:
    """What YAML says; a key may stand once only.

    Args:
        text: The YAML.
        path: It stands in, for errors.

    Raises:
        UserError: Invalid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or first_line(error)
        raise UserError(f"{where}: invalid YAML: {problem}; correct the file") from None
    except Exception as error:  # a date with month 13, `!!bool` of something else: PyYAML lets through what comes
        understood = isinstance(error, ValueError | RecursionError)
        told = first_line(error) if understood else "a value is not what its tag says"
        raise UserError(f"{path}: invalid YAML: {told}; correct the file") from None


def decode(data: bytes, path: Path) -> str:
    """Content as text; a byte-order mark is dropped."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte {error.start} of the file is not valid UTF-8; save the file as UTF-8"
        ) from None


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """Hint for an unknown name: the nearest known ones, or other advice if none is near."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"did you mean {', '.join(near)}?" if near else otherwise


def first_line(error: BaseException) -> str:
    """What an exception says, shortened to a line."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def _example(model: type[BaseModel]) -> str:
    return "datasets_spec/suites/quick.yaml" if model.__name__ == "SuiteSpec" else "datasets_spec/mixture-2d.yaml"


def _explain(error: ValidationError, path: Path, text: str, model: type[BaseModel]) -> str:
    """The first problem in one line; an unknown field goes first, since a missing one is often its correct spelling."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    kind, location, message = problems[0]["type"], problems[0]["loc"], problems[0]["msg"]
    field = ".".join(str(part) for i, part in enumerate(location) if not _is_kind(location, i))
    if kind == "extra_forbidden":
        known = list(_model_at(location[:-1], model).model_fields)
        what = f"unknown field {field!r}: {nearest(str(location[-1]), known, 'known ones are ' + ', '.join(known))}"
    elif kind == "missing":
        what = f"field {field!r} is missing; add it (see {_example(model)})"
    elif kind.startswith("union_tag"):
        what = f"field {field!r} needs a kind: bundled, zoo, local, url, hub, manual or files"
    else:
        what = f"field {field!r}: {message.removeprefix('Value error, ')}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return " ".join(f"{path}, line {_line(text, location)}: {what}{more}".split())


def _is_kind(location: Location, index: int) -> bool:
    """Whether a part of a location is the tag that pydantic adds for the kind of source."""
    return index > 0 and location[index - 1] == "source"


def _model_at(location: Location, root: type[BaseModel]) -> type[BaseModel]:
    names = [part for part in location if part in PARTS]
    return PARTS[str(names[-1])] if names else root


def _line(text: str, location: Location) -> int:
    """Line on which a field stands, or the nearest part around it."""
    node = yaml.compose(text, Loader=_Loader)
    line = 0
    for index, part in enumerate(location):
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if getattr(key, "value", None) == part]
            if found:
                line, node = found[0][0].start_mark.line, found[0][1]
            elif not _is_kind(location, index):
                break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
        else:
            break
    return line + 1
