"""How much generations of one prompt differ, in their worst tile (Carlini et al., 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class TiledL2(Detector):
    """Minus the mean, over pairs of generations, of the largest root mean square difference among their tiles.

    Paper: Carlini et al., "Extracting Training Data from Diffusion Models", USENIX Security 2023, arXiv 2301.13188:
    generations of a memorized prompt resemble each other. Two different pictures with the same background would look
    similar on average; the largest difference among 4 x 4 tiles tells them apart. Images are decoded, in [0, 1].

    Attributes:
        generations: Number of generations per item and seed, each from a starting noise of its own.
        tiles: Number of tiles per side; it must divide the height and the width of the image.
    """

    info = DetectorInfo(
        name="carlini2023-tiled-l2",
        title="minus the mean pairwise tiled distance of several generations",
        paper="carlini2023extracting",
        year=2023,
        access="samples",
        task="prompt",
        cost="2 generations T F (1 F less a generation with shared noise)",
        fidelity="deviates",
        deviation=(
            "the paper generates 500 images per prompt and looks for cliques of ten or more that are nearly equal. The "
            "score here is the mean distance over a few generations, with which later papers compare."
        ),
        headline=Headline("generations=4", guidance=7.5, source="n = 4 of later papers' baseline; the paper takes 500"),
    )
    generations: Annotated[int, Field(ge=2)] = 4
    tiles: PositiveInt = 4

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import itertools

        import torch

        probe.trajectory()  # images are not generated anew
        images = [probe.generated(draw).double() for draw in range(self.generations)]
        height, width = images[0].shape[2:]
        if height % self.tiles or width % self.tiles:
            raise NotApplicableError(f"{self.tiles} tiles a side do not divide images of {height} x {width} pixels")
        distances = []
        for one, other in itertools.combinations(images, 2):
            squares = (one - other).square().mean(dim=1)
            squares = squares.reshape(len(squares), self.tiles, height // self.tiles, self.tiles, width // self.tiles)
            distances.append(squares.mean(dim=(2, 4)).sqrt().amax(dim=(1, 2)))
        return -torch.stack(distances).mean(dim=0)
