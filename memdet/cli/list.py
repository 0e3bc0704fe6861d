"""``memdet list``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from memdet.cli import options
from memdet.tables.formats import markdown, text
from memdet.tables.numbers import UNDEFINED
from memdet.tables.table import Column, Table

# The order in which columns leave a narrow screen, and to how many places sentences are cut before.
_DROP = {"year": 1, "version": 1, "headline": 2, "task": 3, "fidelity": 4, "mitigations": 4, "access": 5, "model": 6}
_LEAST = {"title": 24, "cost": 16}


def _detectors(plugins: tuple[Path, ...]) -> list[dict[str, Any]]:
    from memdet.detectors import detector_classes

    infos = [cls.info for cls in detector_classes(plugins).values()]
    return [
        {
            "name": info.name,
            "access": info.access,
            "task": info.task,
            "year": info.year,
            "fidelity": "control" if info.is_control else info.fidelity,
            "headline": info.headline.label(info.name) if info.headline is not None else None,
            "cost": info.cost,
            "title": info.title,
        }
        for info in sorted(infos, key=lambda info: (not info.is_control, info.name))
    ]


def _mitigations(plugins: tuple[Path, ...]) -> list[dict[str, Any]]:
    from memdet.mitigation import mitigation_classes

    infos = [cls.info for cls in mitigation_classes(plugins).values()]
    return [
        {
            "name": info.name,
            "access": info.access,
            "year": info.year,
            "fidelity": "control" if info.is_control else info.fidelity,
            "cost": info.cost,
            "title": info.title,
        }
        for info in sorted(infos, key=lambda info: (not info.is_control, info.name))
    ]


def _sets(plugins: tuple[Path, ...]) -> list[dict[str, Any]]:
    from memdet.samplesets import load_spec, sample_set_ids

    specs = [load_spec(name) for name in sample_set_ids()]
    return [{"id": s.id, "version": s.version, "task": s.task, "model": s.model, "title": s.title} for s in specs]


def _models(plugins: tuple[Path, ...]) -> list[dict[str, Any]]:
    from memdet.models import model_names

    return [{"name": name} for name in model_names()]


def _suites(plugins: tuple[Path, ...]) -> list[dict[str, Any]]:
    from memdet.samplesets import load_suite, suite_names

    suites = [load_suite(name) for name in suite_names()]
    return [
        {
            "name": s.name,
            "sample_sets": len(s.sample_sets),
            "detectors": len(s.detectors),
            "mitigations": len(s.mitigations),
            "title": s.title,
        }
        for s in suites
    ]


_KINDS: dict[str, Callable[[tuple[Path, ...]], list[dict[str, Any]]]] = {
    "detectors": _detectors,
    "mitigations": _mitigations,
    "sets": _sets,
    "models": _models,
    "suites": _suites,
}


class Kind(click.Choice):  # type: ignore[type-arg]  # generic in new versions of click alone
    """What can be listed. ``sets`` were ``samples`` before."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The kind."""
        return super().convert("sets" if value == "samples" else value, param, ctx)


@click.command("list")
@click.argument("kind", type=Kind(list(_KINDS)))
@options.form(["table", "json", "markdown"])
@options.plugins()
@options.view()
def command(kind: str, form: str, plugins: tuple[Path, ...]) -> None:
    """List what memdet knows."""
    rows = _KINDS[kind](plugins)
    if form == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    if form == "markdown" and kind == "detectors":
        from memdet.detectors import detector_classes
        from memdet.tables.detector_page import detector_page

        click.echo(detector_page(detector_classes(plugins)), nl=False)
        return
    columns = [Column(name, drop=_DROP.get(name, 0), least=_LEAST.get(name, 0)) for name in (rows[0] if rows else {})]
    table = Table(columns, [[_text(value) for value in row.values()] for row in rows])
    click.echo(markdown.draw(table) if form == "markdown" else text.on_screen([table], ruled=False))


def _text(value: Any) -> str:
    return UNDEFINED if value is None else str(value)
