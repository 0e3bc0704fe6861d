"""The page on the figures of Jeon, Kim and No (arXiv 2412.04140): what they claim, and whether it holds here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from memdet.errors import UserError
from memdet.tables.formats import markdown
from memdet.tables.numbers import number
from memdet.tables.table import Table, left, right
from studies.seed_paper import PARTS
from studies.seed_paper.measure import Json
from studies.seed_paper.page_worlds import render_worlds
from studies.seed_paper.toy import RADIUS, SEPARATES
from studies.seed_paper.verdicts import (
    RANKS,
    RATIO,
    SIGNIFICANT,
    eigenvalue,
    interval,
    judge_gap,
    judge_identity,
    judge_pixel,
    judge_toy,
    median_count,
    plain,
)

SCHEMA_VERSION = 1

_INTRODUCTION = f"""\
# The figures of the seed paper, drawn again

Jeon, Kim and No ([arXiv 2412.04140](https://arxiv.org/abs/2412.04140)) claim that the curvature of the learned log
density shows which samples are memorized. This page draws their figures on memdet's planted models, of which we know
what they have memorized. The claims are in our words. Whether a claim holds is decided from the numbers by a rule with
a fixed bound:

- Two groups are told apart if the AUROC is at least {SEPARATES}.
- Two means agree if their ratio is within {RATIO:.0%} of 1.
- One quantity follows another from item to item if Spearman's rank correlation is at least {RANKS}.
- One AUROC is above another if DeLong's test gives p < {SIGNIFICANT}.

The page uses these symbols:

- H is the symmetric part of the Jacobian of the score. It stands for the Hessian of the log density.
- J_c and J_u are the Jacobians of the score of the conditional branch and of the null branch.
- S_c is the symmetric part of J_c. S_D is the symmetric part of J_c - J_u.

No estimator is used: whole Jacobians are computed, with all eigenvalues. Eigenvalues are multiplied by sigma_t^2, so
that different times can be compared. On that scale an exact Hessian has no eigenvalue below -1 (the dotted line), but
the Jacobian of a trained network may. Bands in the figures hold the middle half of the items.

This command measures everything and draws the figures again, in about ten minutes of one core (`pip install
'memdet[figures]'` brings matplotlib):

    memdet reproduce seed-paper

With `--from docs/figures/seed-paper.json` it draws from the stored numbers. With `--only NAME` it measures one model.
With `--world NAME` it tests the claims on all models of a world instead, and adds that world to a table of claims at
the end of this page."""


def read_document(path: Path) -> Json:
    """What ``memdet reproduce seed-paper`` stored.

    Raises:
        UserError: Not such a file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        known = document["schema_version"] == SCHEMA_VERSION and set(document["parts"]) <= set(PARTS)
        if known:
            render_page(document)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        known = False
    if not known:
        raise UserError(f"{path} is no file of numbers that memdet reproduce seed-paper wrote")
    return dict(document)


def write_document(document: Json) -> str:
    """JSON with one line a list of numbers, so that the file can be read and compared."""
    return _dumped(document, 0) + "\n"


def render_page(document: Json, worlds: Sequence[Json] = ()) -> str:
    """The page in Markdown, from stored numbers alone: those of the figures, and those of worlds."""
    parts = document["parts"]
    blocks = [_INTRODUCTION]
    if "toy-2d" in parts:
        blocks += _toy(parts["toy-2d"])
    if "fashion-pixel" in parts:
        blocks += _pixel(parts["fashion-pixel"])
    if "tiny-sd-a" in parts:
        blocks += _identities(parts["tiny-sd-a"]) + _gap(parts["tiny-sd-a"])
    if parts:
        blocks += ["## Measured with", "\n".join(_measured_with(parts))]
    blocks += render_worlds(worlds)
    return "\n\n".join(blocks) + "\n"


def _toy(part: Json) -> list[str]:
    settings, numbers = part["settings"], part["numbers"]
    rows = [
        [
            f"{place['t']}",
            kind.replace("exact", "closed form"),
            eigenvalue(values["memorized"]),
            eigenvalue(values["other"]),
            number(values["auroc"]),
        ]
        for place in (numbers["first"], numbers["last"])
        for kind, values in ((kind, place[kind]) for kind in ("learned", "exact"))
    ]
    counts = numbers["counts"]
    return [
        f"## Figure 1: the plane (`{settings['model']}`, closed form `{settings['truth']}`)",
        _picture("1", "Trajectories of the null branch in the plane, and the smallest eigenvalue along them"),
        f"Left: {settings['draws']} trajectories of the null branch, with {settings['steps']} DDIM steps. "
        f"{counts['memorized']} of them end within {RADIUS} of the tight mode (-2, 0), and count as memorized; the "
        f"other {counts['other']} end elsewhere. The bold trajectory of each group is the one that ends nearest to "
        "its mode. Right: medians over the trajectories, of the network and of the closed form at the points that "
        "the network visits.",
        str(judge_toy(numbers)),
        _table(["t", "score", "memorized", "others", "AUROC"], rows),
        f"The smallest eigenvalue (times sigma_t^2) of the network differs from that of the closed form; the median "
        f"error over all times is {plain(numbers['median_error']['memorized'])} on memorized trajectories, "
        f"{plain(numbers['median_error']['other'])} on the others.",
    ]


def _pixel(part: Json) -> list[str]:
    settings, numbers = part["settings"], part["numbers"]
    rows = [
        [f"{row['t']}", name, show(row[key]["memorized"]), show(row[key]["other"]), number(row[key]["auroc"])]
        for row in numbers
        for name, key, show in (
            ("positive eigenvalues", "positive", median_count),
            ("smallest eigenvalue", "smallest", eigenvalue),
        )
    ]
    classes = settings["classes"]
    return [
        f"## Figure 2: whole spectra (`{settings['model']}`, d = 256)",
        _picture("2", "Sorted eigenvalues of memorized and other generations at the first and the last step"),
        f"The figure shows spectra of S_c for {settings['items']} generations of the memorized class "
        f"{classes['memorized']} (one image, 100 times in the training set) and {settings['items']} generations of the "
        f"class {classes['other']} (3,000 images). The trajectories have {settings['steps']} DDIM steps with guidance "
        f"{settings['guidance']:g}. The first generation of one class starts from the same noise as the first of the "
        "other, and so on. Not every generation of the memorized class is a copy; the model card says how many are.",
        *map(str, judge_pixel(numbers)),
        _table(["t", "median", "memorized", "others", "AUROC"], rows),
        "The AUROC is that of minus the number, or of minus the eigenvalue: above .5, the order of the two groups is "
        "the one that the claim states.",
    ]


def _identities(part: Json) -> list[str]:
    numbers = part["numbers"]
    rows = [
        [
            f"{row['t']}",
            title,
            noise,
            *(
                f"{plain(row[name][group]['ratio'])} / {plain(row[name][group]['rank_correlation'])}"
                for group in ("all", "memorized", "other")
            ),
        ]
        for name, title in (("trace", "norm(s)^2, -tr H"), ("cubic", "norm(H s)^2, -tr H^3"))
        for key, noise in (("per-item", "its own"), ("protocol", part["settings"]["noise"]))
        for row in numbers[key]
    ]
    return [
        f"## Figure 4: norms for traces (`{part['settings']['model']}`)",
        _picture("4", "Squared norms against exact traces, item by item"),
        f"The figure shows {_who(part)}, on the unguided conditional trajectory; each item has its own noise. In "
        "theory, norm(s)^2 and -tr H are equal in the mean over x. So are norm(H s)^2 and -tr H^3, if the density is "
        "Gaussian. Equal means do not say that the two quantities agree item by item.",
        *(str(judge_identity(numbers["per-item"], name)) for name in ("trace", "cubic")),
        _table(["t", "pair", "noise", "all items", "memorized", "others"], rows, text=2),
        "A cell is the ratio of the two means / the rank correlation over items. With shared noise all items start "
        "at the same x. The ratio at the first step then comes from a single draw of the noise, and differences in "
        "the noise do not disturb the order of the items.",
    ]


def _gap(part: Json) -> list[str]:
    rows = [
        [
            f"{row['t']}",
            symbol,
            eigenvalue(row[name]["memorized"]),
            eigenvalue(row[name]["other"]),
            interval(row[name]),
        ]
        for row in part["numbers"]["eigenvalues"]
        for symbol, name in (("S_c", "smallest"), ("S_D", "smallest_gap"))
    ]
    return [
        f"## Figure 5: the conditional branch and the difference (`{part['settings']['model']}`)",
        _picture("5", "Smallest eigenvalue of each item, of the conditional branch and of the difference"),
        f"The figure shows {_who(part)}, on the unguided conditional trajectory, with {part['settings']['noise']} "
        "noise as the sample set asks. Bars are medians. Every panel has its own scale.",
        str(judge_gap(part["numbers"]["eigenvalues"])),
        _table(["t", "of", "memorized", "others", "AUROC [95 %]"], rows),
    ]


def _who(part: Json) -> str:
    memorized, all_items = sum(part["data"]["labels"]), len(part["data"]["labels"])
    return f"{memorized} memorized and {all_items - memorized} other test items of `{part['settings']['sample_set']}`"


def _measured_with(parts: Json) -> list[str]:
    settings = [parts[name]["settings"] for name in PARTS if name in parts]
    return [f"- `{s['model']}` {s['fingerprint'][:12]}, seed {s['seed']}, torch {s['torch']}" for s in settings]


def _picture(figure: str, text: str) -> str:
    return f"![{text}](figures/seed-figure-{figure}.png)"


def _table(headers: list[str], rows: Sequence[list[str]], text: int = 1) -> str:
    """A time, as many columns of text, numbers."""
    columns = (*right(*headers[:1]), *left(*headers[1 : text + 1]), *right(*headers[text + 1 :]))
    return markdown.draw(Table(columns, rows))


def _dumped(value: object, depth: int) -> str:
    """Objects and lists of objects over several lines, lists of numbers on one."""
    nested = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))
    if not nested or not value:
        return json.dumps(value)
    space, end = " " * (depth + 1), " " * depth
    if isinstance(value, dict):
        inner = [f"{space}{json.dumps(key)}: {_dumped(entry, depth + 1)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(inner) + f"\n{end}}}"
    assert isinstance(value, list)
    return "[\n" + ",\n".join(space + _dumped(entry, depth + 1) for entry in value) + f"\n{end}]"
