"""What detectors see as memorization grows: AUROC against the measured extraction rate.

``memdet reproduce psychometric`` writes ``docs/psychometric.md`` and its figure from the score file of a run; no model
is loaded. ``memdet.tables.by_dose`` has the numbers; ``figure`` and ``page`` are what is drawn and written of them.
"""
