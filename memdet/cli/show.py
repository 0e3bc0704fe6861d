"""``memdet show``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memdet.cli import options
from memdet.cli.completion import detector_names, mitigation_names, model_names, offered, set_names, suite_names
from memdet.errors import UserError

if TYPE_CHECKING:
    from memdet.detectors.configured import Configured
    from memdet.page.bibliography import Paper
    from memdet.samplesets import SampleSet

PARAMETERS = 1e6


@dataclass
class Described:
    """What is said of one thing.

    Attributes:
        kind: ``detector``, ``control``, ``mitigation``, ``sample set``, ``suite`` or ``model``.
        name: Its.
        title: One line.
        text: Paragraphs: what it is, a formula.
        facts: By name.
        options: By name, what each may be and means.
    """

    kind: str
    name: str
    title: str
    text: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


@click.command("show")
@click.argument(
    "name",
    metavar="NAME",
    shell_complete=offered(detector_names, mitigation_names, set_names, suite_names, model_names),
)
@options.plugins("Python file with detectors or mitigations.")
@options.form(["table", "json"])
@options.out()
@options.view()
def command(name: str, plugins: tuple[Path, ...], form: str, out: Path | None) -> None:
    """Say what NAME is: a detector, control, mitigation, sample set, suite or model.

    Of a detector or mitigation: what it computes, its paper, options and cost. Of a sample set: what makes an item
    memorized, how it is scored, and the smallest differences of AUROCs that so many items can show.
    """
    from dataclasses import asdict

    from memdet.cli.output import show
    from memdet.io_utils import json_text

    found = [described for kind in _KINDS.values() for described in kind(name, plugins)]
    if not found:
        raise _unknown(name)
    show(json_text([asdict(one) for one in found]) if form == "json" else "\n\n".join(map(_text, found)), out)


def _text(one: Described) -> str:
    from memdet.tables.formats import text

    blocks = [f"{one.name} ({one.kind}): {one.title}", _paragraphs(one.text)]
    blocks.append("\n".join(_hung(f"{name}: {value}") for name, value in one.facts.items()))
    if one.options:
        blocks.append("\n".join(["options:", *(_hung(f"  {name} {value}") for name, value in one.options.items())]))
    return text.on_screen(blocks)


def _hung(line: str) -> str:
    """A line of the screen; what does not fit into it follows, indented."""
    from memdet.tables.fitting import wrapped
    from memdet.tables.screen import width

    places = width()
    return line if places is None else wrapped(line, places - 2).replace("\n", "\n  ")


def _paragraphs(text: str) -> str:
    """Lines that a docstring broke, joined; what is indented stays as it is."""
    parts = text.split("\n\n")
    return "\n\n".join(part if "\n  " in part or "\n- " in part else part.replace("\n", " ") for part in parts)


def _unknown(name: str) -> UserError:
    from memdet.samplesets.strict_yaml import nearest

    kinds = (detector_names, mitigation_names, set_names, suite_names, model_names)
    known = sorted({one for kind in kinds for one in kind()})
    hint = nearest(name, known, "that is none of them:")
    return UserError(f"nothing is named {name!r}: {hint} `memdet list` shows detectors, samples, suites and others")


def _detectors(name: str, plugins: tuple[Path, ...]) -> Iterator[Described]:
    from memdet.detectors import detector_classes, make_detector

    classes, base = _of_plugins(detector_classes, plugins), name.partition("@")[0]
    aliases = {alias: known for known, cls in classes.items() for alias in cls.info.aliases}
    if aliases.get(base, base) not in classes:
        return
    if "@" in name:
        make_detector(name, classes)  # which names an option that there is not
    cls = classes[aliases.get(base, base)]
    info = cls.info
    facts = {"access": info.access, "task": info.task, "version": str(info.version)}
    if info.headline is not None:
        facts["headline of its paper"] = info.headline.described().replace("`", "")
    facts["gives a map"] = "yes" if cls.gives_map() else "no"
    yield _configured(
        cls, "control" if info.is_control else "detector", facts, f"memdet run quick --detector {info.name}"
    )


def _mitigations(name: str, plugins: tuple[Path, ...]) -> Iterator[Described]:
    from memdet.mitigation import mitigation_classes

    classes, base = _of_plugins(mitigation_classes, plugins), name.partition("@")[0]
    aliases = {alias: known for known, cls in classes.items() for alias in cls.info.aliases}
    if aliases.get(base, base) not in classes:
        return
    cls = classes[aliases.get(base, base)]
    kind = "mitigation, a point of comparison" if cls.info.is_control else "mitigation"
    facts = {"access": cls.info.access, "version": str(cls.info.version)}
    yield _configured(cls, kind, facts, f"memdet mitigate tiny-sd-a-verbatim --method {cls.info.name}")


def _of_plugins(classes: Callable[..., Mapping[str, Any]], plugins: tuple[Path, ...]) -> dict[str, Any]:
    """Those that are installed and those of the files, each of which may hold detectors or mitigations alone."""
    found = dict(classes())
    for path in plugins:
        try:
            found |= classes((path,))
        except UserError as error:
            if "defines no" not in str(error):
                raise
    return found


def _paper(paper: Paper) -> str:
    """One line: who, what, where."""
    names = [name.partition(",")[0] for name in paper.authors.split(" and ")]
    who = ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")
    where = " ".join(filter(None, [paper.venue, paper.year]))
    return f"{who}: {paper.title}. {where}." + (f" {paper.link}" if paper.link else "")


def _configured(cls: type[Configured], kind: str, facts: dict[str, str], run: str) -> Described:
    import inspect

    from memdet.page.bibliography import papers
    from memdet.tables.detector_page import choices_of, parts_of

    info: Any = cls.info  # of detectors and of mitigations
    text, described = parts_of(inspect.cleandoc(cls.__doc__ or ""))
    text = text.partition("\nRaises:")[0].partition("\nExample:")[0].strip()
    told = {"cost": f"{info.cost} (per item and seed; F: forward, JVP and VJP: Jacobian products, T: steps)"}
    if info.cost in {"0", "none", ""}:
        told["cost"] = "none: it never calls the model"
    if info.paper:
        paper = papers().get(info.paper)
        told["paper"] = info.paper if paper is None else _paper(paper)
    told |= {"fidelity": f"{info.fidelity}{': ' + info.deviation if info.deviation else ''}"} if info.paper else {}
    rows = {
        name: f"({choices_of(hint)}; default {getattr(cls, name)}): {described.get(name, '')}".replace("`", "")
        for name, hint in cls.option_types().items()
    }
    if info.aliases:
        facts["former names"] = ", ".join(info.aliases)
    return Described(
        kind, info.name, info.title, text.replace("`", "").replace("**", ""), told | facts | {"run it": run}, rows
    )


def _sets(name: str, plugins: tuple[Path, ...]) -> Iterator[Described]:
    from memdet.samplesets import load_sample_set, load_spec, load_suite, sample_set_ids
    from memdet.samplesets import suite_names as suites

    if name not in sample_set_ids() and not Path(name).expanduser().is_file():
        return
    spec = load_spec(name)
    protocol = spec.protocol
    facts = {"version": str(spec.version), "model": spec.model, "task": spec.task}
    if spec.world:
        facts["world"] = spec.world
    if spec.question:
        facts["question"] = spec.question
    if spec.source.kind in {"bundled", "zoo", "local"}:  # others are fetched, which is no reader's work
        facts |= sizes_of(load_sample_set(name))
    facts["protocol"] = (
        f"{protocol.steps} steps of {protocol.scheduler}, guidance {protocol.guidance:g}, {protocol.seeds} noise seeds,"
        f" {protocol.noise} noise"
    )
    facts |= {"strata": spec.strata, "clusters": spec.clusters, "licence": spec.licence, "citation": spec.citation}
    members = [one for one in suites() if spec.id in load_suite(one).sample_sets]
    facts["suites"] = ", ".join(members) or "none"
    facts |= {"known problem": " ".join(spec.known_problems)} if spec.known_problems else {}
    facts["run it"] = f"memdet run {name}"
    yield Described("sample set", spec.id, spec.title, spec.label_rule, facts)


def sizes_of(sample_set: SampleSet) -> dict[str, str]:
    """How many test items there are, and what these can show."""
    from memdet.auditing.detectable import detectable_sentence
    from memdet.metrics import effective_number

    test = sample_set.items[sample_set.items["split"] == "test"]
    clusters = test["cluster"].astype("category").cat.codes.to_numpy()
    labels = test["label"].to_numpy()
    effective = [effective_number(clusters[labels == label]) for label in (1, 0)]
    counts = [int((labels == label).sum()) for label in (1, 0)]
    return {
        "test items": f"{counts[0]} memorized, {counts[1]} not",
        "can show": detectable_sentence(*effective),
    }


def _suites(name: str, plugins: tuple[Path, ...]) -> Iterator[Described]:
    from memdet.samplesets import load_suite
    from memdet.samplesets import suite_names as suites

    if name not in suites():
        return
    suite = load_suite(name)
    facts = {"sample sets": ", ".join(suite.sample_sets)}
    for kind, members in (("detectors", suite.detectors), ("mitigations", suite.mitigations)):
        if members:
            facts[kind] = ", ".join(members)
    facts["noise seeds"] = str(suite.seeds) if suite.seeds else "those of each protocol"
    facts["run it"] = f"memdet {'mitigate' if suite.mitigations else 'run'} {name}"
    yield Described("suite", name, suite.title, "", facts)


def _models(name: str, plugins: tuple[Path, ...]) -> Iterator[Described]:
    from memdet.io_utils import weights_root
    from memdet.results.scale import scale_of
    from memdet.samplesets import load_spec, sample_set_ids

    if name not in model_names():
        return
    size, card = scale_of(name), weights_root() / name / "README.md"
    title, text = "a closed form, whose scores and Jacobians are exact", ""
    if card.is_file():
        body = card.read_text(encoding="utf-8").split("\n---\n", 1)[-1].strip()
        text = body.partition("\n\n")[2].partition("\n\n")[0].replace("\n", " ")
        title = "a planted model that ships with memdet"
    facts = {}
    if size is not None and size.parameters:
        facts["network"] = f"{size.parameters / PARAMETERS:.3g} million parameters"
    if size is not None and size.side:
        facts["pictures"] = f"{size.side} x {size.side} pixels"
    if card.is_file():
        facts["card"] = str(card)
    sets = [one for one in sample_set_ids() if load_spec(one).model == name]
    facts["sample sets"] = ", ".join(sets) or "none"
    facts["look at it"] = f"memdet doctor --model {name}"
    yield Described("model", name, title, text, facts)


_KINDS: dict[str, Callable[[str, tuple[Path, ...]], Iterator[Described]]] = {
    "detector": _detectors,
    "mitigation": _mitigations,
    "sample set": _sets,
    "suite": _suites,
    "model": _models,
}
