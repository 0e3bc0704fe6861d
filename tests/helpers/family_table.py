"""The table of docs/models.md: what works with each family, tried on a tiny pipeline of it.

``python -m tests.helpers.family_table`` prints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from memdet.curvature import JacobianOperator
from memdet.errors import NotApplicableError
from memdet.models import ScoreModel, load_model
from memdet.models.diffusers import class_conditional, stable_diffusion
from tests.helpers.tiny_pipelines import CLASSES, FAMILIES, OTHERS, save, small_images

COLUMNS = (
    "family",
    "pipelines",
    "predicts",
    "null branch",
    "J v, J^T v",
    "attention to text",
    "middle block",
    "images",
)

PIPELINES = {"sd": stable_diffusion.PIPELINES} | dict.fromkeys(("pixels", CLASSES), class_conditional.PIPELINES)


def row(name: str, pipelines: Sequence[str], model: ScoreModel) -> str:
    """One line of the table; ``model`` is in float64."""
    condition = model.embed(["a", "b"] if model.takes_prompts else ["0", "1"])
    x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = model.schedule.timesteps(4)[2]
    answers = {
        "null branch": model.embed_null,
        "attention to text": lambda: model.attention(x, t, condition),
        "middle block": lambda: model.bottleneck(x, t, condition),
        "images": lambda: model.decode(x),
    }
    tried = {column: _answers(ask) for column, ask in answers.items()}
    tried["J v, J^T v"] = "yes" if _products_agree(model, x, t, condition) else "no"
    named = {"family": name, "pipelines": ", ".join(pipelines), "predicts": model.prediction_type}
    return "| " + " | ".join((named | tried)[column] for column in COLUMNS) + " |"


def _answers(ask) -> str:
    try:
        ask()
    except NotApplicableError:
        return "no"
    return "yes"


def _products_agree(model, x, t, condition) -> bool:
    """Whether products by forward and by reverse AD are of one Jacobian; parts of some networks are in float32."""
    u, v = torch.randn_like(x), torch.randn_like(x)

    def product(backend):
        return JacobianOperator(lambda z: model.score(z, t, condition), x, backend, check=False)

    forward, reverse = product("jvp").mv(v), product("vjp").rmv(u)
    return bool(((u * forward).sum() - (reverse * v).sum()).abs() <= 1e-6 * u.norm() * forward.norm())


def names() -> list[str]:
    """Families in the order of the page."""
    return [*OTHERS, *FAMILIES]


def row_of(name: str, directory: Path) -> str:
    """The line of a family, of its tiny pipeline in a directory."""
    model = load_model(directory, dtype=torch.float64)
    return row(name, PIPELINES[name] if name in OTHERS else model.family.pipelines, model)


def table() -> str:
    """The whole table."""
    head = ["| " + " | ".join(COLUMNS) + " |", "| " + " | ".join("---" for _ in COLUMNS) + " |"]
    with TemporaryDirectory() as folder, small_images():
        return "\n".join([*head, *(row_of(name, save(name, Path(folder))) for name in names())]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
