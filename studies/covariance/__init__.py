"""Why the Hessian norm of the first step ranks below the score difference: the data's covariance as a suspect.

``memdet reproduce covariance`` measures and writes ``docs/covariance.md``.

- ``closed_form``: Gaussian data with flat and decaying spectra, where everything is known.
- ``planted``: the planted models, with and without the directions in which the data vary most.
- ``page``: what is written of them.
"""
