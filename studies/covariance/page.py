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

`wen2024` is the norm of the score difference at the first step. `jeon2025` first multiplies this difference by the
difference of the Hessians, and then takes the norm. Jeon, Kim and No (arXiv 2412.04140) report that `jeon2025` is the
better detector. On the planted models it is the worse one ([Findings](findings.md)). This page tests a possible reason.

Near pure noise, to first order,

    J_D s_D = (alpha^3 / sigma^6) (Cov_c - Cov_u) (x0_c - x0_u)

Here J_D and s_D are the differences of Hessian and score. Cov and x0 are the covariance and the mean of the clean
samples, with the condition (c) and without it (u). The product with J_D thus weights the difference of the means by a
difference of covariances. If the data vary mostly in a few directions, these directions outweigh all others. A norm of
few directions is noisy, and that may be why `jeon2025` is worse.

This command measures everything on this page again, in a few minutes on one core:

    memdet reproduce covariance

## Closed forms

The data are Gaussian, with d dimensions. The variance of dimension k is in proportion to `k ** -decay`, so a larger
decay means fewer dominant directions. The column *directions* counts them: it is the participation ratio of the
variances.

A memorized condition stands for one point of the data. An ordinary condition stands for a part of the data: its mean is
closer to 0, and it has a width. How much closer is chosen such that the score difference has an AUROC of
{closed_form.TARGET:g} in every row. The other columns are AUROCs of `jeon2025`:

- *mean alone*: memorized conditions are given the width of ordinary ones. The Hessians of both kinds are then equal,
  and only the means differ.
- *mean and width*: memorized conditions have width 0, so the Hessians differ too.
- *whitened*: as *mean alone*, with every coordinate divided by its variance before the norm."""

_PLANTED = f"""\
## Planted models

The table shows the same test on the latents of the planted models, averaged over {{seeds}} noise draws. For *whitened*,
the coordinates in the eigenbasis of the training images' latents are divided by their variances + {planted.FLOOR:g}. A
whitened norm needs the training images. It is a test of the explanation, and no detector."""


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
        "- **If the variance is the same in all directions, the Hessian does no harm.**",
        f"  With the mean alone `jeon2025` has {alone}, as the score difference. If widths differ too, it has {both}.",
        "- **If a few directions dominate, the Hessian weights the wrong ones.**",
        f"  With the mean alone `jeon2025` falls to {ends['moved']}, and whitening lifts it to {ends['whitened']}.",
        f"  If memorized conditions are narrower too, it has {ends['narrowed']}: "
        "the difference in width can make up for the loss.",
        "- **The planted models have few dominant directions, and whitening helps both detectors.**",
    ]
    for model in models:
        wen, jeon = (
            f"`{key}` from {number(model.plain[key].auroc.value)} to {number(model.whitened[key].auroc.value)}"
            for key in planted.QUANTITIES
        )
        lines.append(f"  `{model.sample_set}`: {jeon}, {wen}.")
    lines.append(
        "  Whitened, `jeon2025` reaches what plain `wen2024` has, but whitened `wen2024` is ahead again. Dominant\n"
        "  directions therefore harm both detectors, and not `jeon2025` alone."
    )
    return "\n".join(lines)


def _ends(values: Sequence[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def _interval(found: Interval) -> str:
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"
