"""The figures of the seed paper, Jeon, Kim and No (arXiv 2412.04140), again: on models whose memorized items are known.

``memdet reproduce seed-paper`` writes ``docs/seed-paper.md``, its figures and ``docs/figures/seed-paper.json``.

- ``measure``: Figures 2, 4 and 5, whole Jacobians on ``fashion-pixel`` and ``tiny-sd-a``; numbers from stored values.
- ``toy``: Figure 1, trajectories in the plane on ``toy-2d``.
- ``verdicts``: rules with fixed bounds that say of each claim whether it holds.
- ``figures`` and ``page``: what is drawn and written of the numbers.

``memdet reproduce seed-paper --world NAME`` poses the claims on all models of a world, and stores
``docs/figures/seed-paper-NAME.json``.

- ``worlds``: which there are, from the specs of sample sets.
- ``measure_world``: whole Jacobians of networks that predict noise, v or flow, in one scale.
- ``claims``: a number for each claim with its interval, and the rule that says whether it holds.
- ``page_worlds``: the table of claims by world.
"""

PARTS = ("toy-2d", "fashion-pixel", "tiny-sd-a")
"""Models of the document, in its order."""
