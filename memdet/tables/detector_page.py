"""The page of all detectors, made from what they say of themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from memdet.detectors import Detector, DetectorInfo
from memdet.tables.formats import markdown
from memdet.tables.table import Table, left

_INTRODUCTION = """\
# Detectors

Every detector maps an item and a noise seed to one number; a larger number means more memorized. `memdet list detectors
--format markdown` makes this page from the code of the detectors. The [glossary](glossary.md) explains words such as
branch, probe, trajectory and oracle. In formulas, `e` or `eps` is the predicted noise, `s` the score, `J` its Jacobian;
`_c` marks the conditional branch and `_u` the null branch; `D` is a difference of the two branches.

The columns of the table:

- *fidelity*: how close the row is to its paper. `faithful`: with the default options it computes what the paper
  defines. `deviates`: it does not, and the section says how and why. `derived`: memdet made a detector from a quantity
  of the paper. `ours`: memdet's own.
- *paper*: a key in [`bibliography.bib`](bibliography.bib).
- *headline*: the setting in which the paper reports its main results: options, the number n of generations or noise
  draws that are averaged, and guidance.
- *access*: what the detector must see. `samples`: generations of the model; `score`: its predictions; `gradient`:
  Jacobian products; `attention`: its attention maps; `activations`: other inner values; `training-data`: the training
  images (an oracle). `none` and `text` are controls, which never call the model.
- *task*: `prompt`: the detector reads the item's prompt; `image`: it reads the item's image; `any`: it needs neither.
- *cost*: per item and seed, with per-item noise. F is a forward of one item on one branch, JVP and VJP are Jacobian
  products in forward and reverse mode, and T is the number of steps of the protocol's trajectory. Other words are
  options of the detector: `2 steps F` is two forwards for each of its `steps`. With shared noise the null branch at the
  start is evaluated once for all items, which makes some detectors cheaper.
"""
_HEADINGS = ("name", "fidelity", "year", "paper", "headline", "access", "task", "cost")


def detector_page(classes: Mapping[str, type[Detector]]) -> str:
    """Markdown of all detectors: a table, and a section each.

    Args:
        classes: By name.
    """
    ordered = sorted(classes.values(), key=lambda cls: (cls.info.is_control, cls.info.name))
    table = Table(left(*_HEADINGS), [_cells(cls.info) for cls in ordered])
    return "\n".join([_INTRODUCTION, markdown.draw(table), *(_section(cls) for cls in ordered)])


def _cells(info: DetectorInfo) -> list[str]:
    link = f"[{info.name}](#{info.name})"
    fidelity = "control" if info.is_control else info.fidelity
    headline = info.headline.described() if info.headline is not None else ""
    return [link, fidelity, str(info.year or ""), info.paper or "", headline, info.access, info.task, info.cost]


def _section(cls: type[Detector]) -> str:
    info = cls.info
    text, options = described(cls)
    facts = [f"`{info.paper}`"] if info.paper else []
    if not info.is_control:
        facts.append(info.fidelity)
    facts.append(f"version {info.version}")
    if info.supervised:
        facts.append("cross-validated on labels")
    lines = [f"\n## {info.name}\n", f"{info.title[0].upper()}{info.title[1:]} ({', '.join(facts)}).\n", f"{text}\n"]
    if info.deviation:
        lines.append(f"How it differs: {info.deviation}\n")
    if info.headline is not None:
        source = f" ({info.headline.source})" if info.headline.source else ""
        lines.append(f"Headline: {info.headline.described()}{source}.\n")
    lines += [f"- `{one.name}` ({one.kind}; default {one.default}): {one.text}".rstrip(": ") for one in options]
    return "\n".join(lines).rstrip("\n") + "\n"


@dataclass(frozen=True)
class Option:
    """An option of a detector, in Markdown.

    Attributes:
        name: As it is written after ``@``.
        kind: What it may be.
        default: Its value where nothing is said.
        text: What it means.
    """

    name: str
    kind: str
    default: str
    text: str


def described(cls: type[Detector]) -> tuple[str, list[Option]]:
    """What a detector's docstring says, formula first, and its options; both in Markdown.

    Args:
        cls: The detector.
    """
    text, texts = parts_of(inspect.cleandoc(cls.__doc__ or ""))
    options = [
        Option(name, choices_of(hint), _value(getattr(cls, name)), texts.get(name, ""))
        for name, hint in cls.option_types().items()
    ]
    return text, options


def parts_of(docstring: str) -> tuple[str, dict[str, str]]:
    """A docstring as Markdown without its list of attributes, and that list by name."""
    text = re.sub(r":(?:class|func|meth|attr):`~?([^`]+)`", r"`\1`", docstring.replace("``", "`"))
    body, _, attributes = text.partition("\nAttributes:\n")
    lines = re.sub(r"\n {8,}", " ", attributes).splitlines()
    entries = (re.match(r" {4}([\w, ]+): (.*)", line) for line in lines)
    return body.strip(), {name: entry[2] for entry in entries if entry for name in entry[1].split(", ")}


def _value(value: object) -> str:
    return "none" if value is None else f"`{value}`"


def choices_of(hint: Any) -> str:
    """What an option may be, in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin is Annotated:  # a number with a bound
        return choices_of(arguments[0])
    if arguments:
        return " or ".join(choices_of(argument) for argument in arguments)
    return "none" if hint is type(None) else str(hint.__name__)
