"""Variants of detectors that are dear or not applicable by default, for tests of what holds for every detector."""

CHEAP = {
    "p-laplace": "p-laplace@directions=8",
    "normal-bundle": "normal-bundle@scores=256",
    "invmm": "invmm@steps=5",
    "curvature-map": "curvature-map@probes=2",
    "lhsd": "lhsd@probes=2,krylov=3",
    "carlini2023-tiled-l2": "carlini2023-tiled-l2@generations=2",
    "copy-similarity": "copy-similarity@embedding=pixel",
    "ren2024-entropy": "ren2024-entropy@sink=any",
    "ren2024-layer-entropy": "ren2024-layer-entropy@layer=1,sink=any",
}


def cheap(name: str) -> str:
    """The detector as it is, or a variant of few evaluations that the planted models can serve."""
    return CHEAP.get(name, name)
