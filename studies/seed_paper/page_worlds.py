"""The part of the page on worlds: claims by world, from stored numbers, and the files that hold these."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memdet.errors import UserError
from memdet.metrics import Interval
from memdet.tables.formats import markdown
from memdet.tables.numbers import bounded, defined, number, signed
from memdet.tables.table import Table, left, right
from studies.seed_paper.claims import CLAIMS, GAIN, KINDS, WHEN, Claim, Kind, area_of, outcome, over_models
from studies.seed_paper.measure import GROUPS, Json
from studies.seed_paper.measure_world import LATE
from studies.seed_paper.verdicts import SIGNIFICANT, eigenvalue, median_count

WORLD_SCHEMA_VERSION = 1
_STEM = "seed-paper-"

_RULES = f"""\
## The claims by world

A world is a family of data, network and training; its models and their sample sets of whole copies (question
`verbatim`) are those of the specs. The same claims are posed on each, in whatever its networks predict: noise, v or
flow. The times are the first step, the one nearest to t = {LATE}, and the last step of the unguided conditional
trajectory, under one draw of the noise that the sample set asks for; for the identities each item has its own.

**Scale.** With x_t = alpha x_0 + sigma eps, sigma^2 H = -1 + (alpha / sigma)^2 Cov(x_0 | x_t) whatever the network
predicts, so eigenvalues times sigma^2 start at -1, where nothing of x_0 is left open in a direction, and are positive
where its standard deviation there is above sigma / alpha. Noise is a linear function of what a network returns, and so
is its Jacobian; both are taken so. No verdict depends on a scale at one time.

**Pure noise.** Where the first step has alpha = 0 (flow, and v with zero terminal SNR), the score there is
-x / sigma^2 and every eigenvalue of H is -1 / sigma^2 under every condition: there is nothing to measure of one branch,
nor of J_D, which falls with alpha^2. The second step then counts as the first. The norm of s_D alone is taken at the
first step, over alpha, where it is finite: the distance between the two means of x_0.

**Verdicts.** Each claim is about one number, its mean over the models of the world. It *holds* where the number is
within the bound and its 95 % interval in the wider range; it *does not hold* where the whole interval misses the bound,
and is *open* otherwise. The interval of a mean is the mean of the models' bounds, as if their errors were one, for
sister models share captions. Intervals hold other items and no other draws of the noise."""

_COMMAND = """\
    memdet reproduce seed-paper --world NAME

measures all models of a world, with `--only MODEL` one of them; `--items` says how many of each label, `--times` at how
many times spectra are taken."""


def file_of(figures: Path, world: str) -> Path:
    """Where the numbers of a world are stored."""
    return figures / f"{_STEM}{world}.json"


def read_worlds(figures: Path) -> list[Json]:
    """The numbers of all worlds that a directory holds, by name.

    Raises:
        UserError: A file that is none of them and has the name of one.
    """
    return [read_world(path) for path in sorted(figures.glob(f"{_STEM}*.json"))]


def read_world(path: Path) -> Json:
    """What ``memdet reproduce seed-paper --world`` stored.

    Raises:
        UserError: Not such a file, or one of another world than its name says.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        known = document["schema_version"] == WORLD_SCHEMA_VERSION and path.name == f"{_STEM}{document['world']}.json"
        if known:
            render_worlds([document])
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
        known = False
    if not known:
        raise UserError(f"{path} holds no numbers of a world that memdet reproduce seed-paper wrote; remove the file")
    return dict(document)


def render_worlds(documents: Sequence[Json]) -> list[str]:
    """Blocks of the page, in Markdown; none without a world."""
    if not documents:
        return []
    blocks = [_RULES, _kinds(), _COMMAND, _by_world(documents)]
    for document in documents:
        blocks += _world(document)
    return blocks


def _kinds() -> str:
    def ends(pair: tuple[float, float], *, strictly: bool = False) -> str:
        low, high = (f"{end:.2g}" for end in pair)
        return f"above {low}, to {high}" if strictly else f"{low} to {high}"

    rows = [[kind.name, ends(kind.bound), ends(kind.surely, strictly=True)] for kind in KINDS]
    note = (
        "A claim of a difference of AUROCs holds where the first is larger by DeLong's test, "
        f"p < {SIGNIFICANT:g} for one claim by itself, and does not hold where the second is."
    )
    return markdown.document([Table(left("number", "bound", "its interval"), rows), note])


def _by_world(documents: Sequence[Json]) -> str:
    rows = []
    for claim in CLAIMS:
        cells = []
        for document in documents:
            mean = over_models(_numbers(document, claim))
            cells.append(f"**{outcome(mean, claim.kind)}** {_shown(mean, claim.kind)}")
        rows.append([markdown.escape(claim.text), WHEN[claim.when], claim.kind.name, *cells])
    headers = left("claim", "when", "number", *(document["world"] for document in documents))
    return markdown.draw(Table(headers, rows))


def _world(document: Json) -> list[str]:
    models = document["models"]
    rows = [
        [
            markdown.escape(claim.text),
            WHEN[claim.when],
            *(_shown(found, claim.kind) for found in _numbers(document, claim)),
        ]
        for claim in CLAIMS
    ]
    by_claim = Table(left("claim", "when", *(f"`{name}`" for name in models)), rows)
    return [
        f"### {document['world']}",
        "\n".join(_about(name, model) for name, model in models.items()),
        markdown.draw(by_claim),
        _spectra(models),
    ]


def _about(name: str, model: Json) -> str:
    settings, data = model["settings"], model["data"]
    copies, t = sum(data["labels"]), data["t"]
    start = "" if t["start"] == t["first"] else f"; the step before it, t = {t['start']:g}, is pure noise"
    return (
        f"- `{name}` {settings['fingerprint'][:12]}, predicts {settings['prediction_type']}, d = {settings['d']}: "
        f"{copies} copies and {len(data['labels']) - copies} others of `{settings['sample_set']}` version "
        f"{settings['version']}, {settings['noise']} noise, seed {settings['seed']}, torch {settings['torch']}; "
        f"first step t = {t['first']:g}{start}"
    )


def _spectra(models: Json) -> str:
    """Smallest eigenvalues and their AUROCs at all times, of the three spectra, and counts."""
    quantities = ("smallest", "smallest_null", "smallest_gap", "positive")
    rows = []
    for name, model in models.items():
        data = model["data"]
        labels = np.array(data["labels"])
        for place in data["places"]:
            cells = []
            for quantity in quantities:
                values, show = np.array(place[quantity], float), median_count if quantity == "positive" else eigenvalue
                medians = (
                    show(float(np.median(values[labels == wanted]))) for wanted in (int(g == GROUPS[0]) for g in GROUPS)
                )
                cells.append(f"{' / '.join(medians)}, {number(defined(area_of(data, -values).value))}")
            rows.append([f"`{name}`", f"{place['t']:g}", f"{place['alpha'] / place['sigma']:.3g}", *cells])
    columns = (
        *left("model"),
        *right("t", "alpha / sigma"),
        *left("smallest of S_c", "of S_u", "of S_D", "positive ones of S_c"),
    )
    note = "Medians of copies / of others, and the AUROC of minus the number; eigenvalues are times sigma^2."
    return markdown.document([Table(columns, rows), note])


def _numbers(document: Json, claim: Claim) -> list[Interval]:
    return [claim.measure(model["data"]) for model in document["models"].values()]


def _shown(found: Interval, kind: Kind) -> str:
    bounds = (defined(found.low), defined(found.high))
    value = signed(found.value) if kind is GAIN else number(found.value)
    return bounded(value, *bounds, form=lambda end: number(end, places=2))
