"""What accuracy costs: AUROC and TPR at 1 % FPR against network evaluations, with their Pareto fronts.

``memdet reproduce cost-accuracy`` writes ``docs/cost-accuracy.md`` and its figure from the score file of a run; no
model is loaded.

- ``fronts``: which detectors no cheaper one equals or exceeds, on each sample set.
- ``figure`` and ``page``: what is drawn and written of them.
"""
