"""One HTML file from the payload: template, styles and scripts inlined, and nothing that the page may fetch."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from memdet.io_utils import write_text
from memdet.page.methods import REPOSITORY
from memdet.page.payload import payload_of
from memdet.results.run import Run

PICTURE_BYTES = 1_200_000
ONE_ANSWER = (
    "Sample sets ask different questions, so there is no overall rank. The page names one detector to start with, the "
    "one that finds the highest mean share of memorized items over a list of sets that no budget changes, and the sets "
    "on which that one fails."
)
"""What the page of a run says of ranks."""
BEST_OF_EACH = (
    "What finds most on each sample set, at a false positive rate and within a budget. The cards above go by the "
    "ranking over questions."
)
SCRIPTS = (
    *("data", "dom", "tips", "copy", "metrics", "svg", "views"),
    *("answer", "front", "table", "plots", "items", "method", "main"),
)
STYLES = ("base", "page", "front")


def to_html(
    runs: Sequence[Run | Path], *, title: str = "", generations: int = 2, picture_bytes: int = PICTURE_BYTES
) -> str:
    """The page of finished runs: one file, which fetches nothing.

    The same runs give the same text, byte for byte. Images are shown where the runs hold them
    (:func:`memdet.running.generations.make_images` makes them).

    Args:
        runs: Runs, or their directories.
        generations: Images an item to show, of those that are kept.
        title: Heading; the default names what was compared.
        picture_bytes: What the images may take.
    """
    loaded = [Run.of(run) for run in runs]
    return render(payload_of(loaded, generations=generations, picture_bytes=picture_bytes), title)


def page_of(run: Run, path: Path | None = None) -> str:
    """The page of one run, see :meth:`memdet.results.Run.to_html`."""
    text = to_html([run])
    if path is not None:
        write_text(Path(path).expanduser(), text)
    return text


def render(data: dict[str, Any], title: str = "") -> str:
    """The page of a payload."""
    style = Markup("\n".join(_read("style", f"{name}.css") for name in STYLES))
    parts = "\n".join(_read("script", f"{name}.js") for name in SCRIPTS)
    script = Markup(f'(() => {{\n"use strict";\n{parts}}})();')
    environment = Environment(
        loader=PackageLoader("memdet.page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        title=title or "Detectors of memorization, compared",
        scale=data["scale"],
        one_answer=BEST_OF_EACH if data["front"] else ONE_ANSWER,
        board=data["front"] is not None,
        repository=REPOSITORY,
        data=embedded(data),
        style=style,
        script=script,
        policy=policy(str(style), str(script)),
    )


def embedded(data: Any) -> Markup:
    """JSON for a script element: nothing in it can end the element or open a comment."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def policy(style: str, script: str) -> str:
    """Content Security Policy: this style, this script, images inside the file, and nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _read(folder: str, name: str) -> str:
    return (files("memdet.page") / folder / name).read_text(encoding="utf-8")
