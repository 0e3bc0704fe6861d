"""The page that the study writes."""

from __future__ import annotations

from collections.abc import Sequence

from memdet.metrics import Interval
from memdet.tables.formats import markdown
from memdet.tables.numbers import number
from memdet.tables.table import Table, left, right
from studies.covariance import closed_form, planted

_INTRODUCTION = f"""\
# Why the Hessian norm ranks below the score difference

`jeon2025` multiplies the score difference of the first step by the difference of the Hessians and takes the norm. The
planted models rank it below `wen2024`, the norm of the score difference itself ([Findings](findings.md)), and Jeon, Kim
and No (arXiv 2412.04140) above. The suspicion: near pure noise

    J_D s_D = (alpha^3 / sigma^6) (Cov_c - Cov_u) (x0_c - x0_u)   to first order,

with the covariances and means of the clean samples. The Hessian weights the difference of the means by a covariance.
Where the data vary in a few directions alone, these outweigh all others, and a norm of few directions is noisy.

    memdet reproduce covariance

measures again, in a few minutes of one core.

## Closed forms

Gaussian data of d dimensions; variance k falls as `k ** -decay`. A memorized condition is a point of the data. An
ordinary one has a mean that is closer to 0, so much that the score difference has an AUROC of {closed_form.TARGET:g} in
every row; its width makes up for the rest of the variance. In the column *mean alone* memorized conditions are given
the same width, so that the Hessians of both kinds are equal; in *mean and width* they have none. *Whitened* is the
first of these with every coordinate divided by its variance. Directions are the participation ratio of the variances:
how many share what there is."""

_PLANTED = f"""\
## Planted models

The same on the latents of the planted models, mean over {{seeds}} draws of the noise. Whitened: coordinates in the
eigenbasis of the training images' latents, divided by their variances + {planted.FLOOR:g}. A whitened norm looks at the
training images. It is a test of the suspicion and no detector."""


def render(rows: Sequence[closed_form.Row], models: Sequence[planted.Measured]) -> str:
    """The document, in Markdown."""
    forms = Table(
        right("d", "decay", "directions", "`jeon2025`, mean alone", "mean and width", "whitened"),
        [
            [
                f"{row.d:,}",
                f"{row.decay:g}",
                f"{row.directions:.1f}",
                *(number(value) for value in (row.moved, row.narrowed, row.whitened)),
            ]
            for row in rows
        ],
    )
    measured = Table(
        [*left("sample set"), *right("directions"), *left("detector"), *right("AUROC", "whitened")],
        [
            [
                f"`{model.sample_set}`",
                f"{model.directions:.1f} of {model.d}",
                f"`{key}`",
                _interval(model.plain[key].auroc),
                _interval(model.whitened[key].auroc),
            ]
            for model in models
            for key in planted.QUANTITIES
        ],
    )
    seeds = " or ".join(sorted({str(model.seeds) for model in models}))
    return (
        markdown.document([_INTRODUCTION, forms, _PLANTED.format(seeds=seeds), measured])
        + "\n\n"
        + _verdict(rows, models)
        + "\n"
    )


def _verdict(rows: Sequence[closed_form.Row], models: Sequence[planted.Measured]) -> str:
    flat, other = ([row for row in rows if (row.decay == 0) == wanted] for wanted in (True, False))
    ends = {name: _ends([getattr(row, name) for row in other]) for name in ("moved", "narrowed", "whitened")}
    alone, both = (_ends([getattr(row, name) for row in flat]) for name in ("moved", "narrowed"))
    lines = [
        "## What it says\n",
        "- **Flat data: the Hessian costs nothing and may help.**",
        f"  It has {alone} where the mean alone tells, as the score difference, and {both} where the width tells too.",
        "- **Data with dominant directions: it weights the wrong ones.**",
        f"  With the mean alone it falls to {ends['moved']}, and whitening gives {ends['whitened']}.",
        f"  Where memorized conditions are narrower too it has {ends['narrowed']}: "
        "the width may make up for the weights.",
        "- **The planted models have few directions, and whitening helps both.**",
    ]
    for model in models:
        wen, jeon = (
            f"`{key}` from {number(model.plain[key].auroc.value)} to {number(model.whitened[key].auroc.value)}"
            for key in planted.QUANTITIES
        )
        lines.append(f"  `{model.sample_set}`: {jeon}, {wen}.")
    lines.append(
        "  So the Hessian norm comes to where the score difference was, which then is ahead again: dominant\n"
        "  directions hide the same things from both, and more from the first."
    )
    return "\n".join(lines)


def _ends(values: Sequence[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def _interval(found: Interval) -> str:
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
