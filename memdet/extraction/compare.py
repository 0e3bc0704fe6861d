"""Generations against all training images: the nearest one of each, and whether it counts as its copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memdet.extraction.rule import Rule, neighbours_of, ratios, rule_of
from memdet.extraction.sscd import Embedded, Sscd, with_reference
from memdet.extraction.training_images import Pixels, TrainingImages, compared, generation_pixels
from memdet.metrics import Interval, share_interval
from memdet.probing.neighbours import nearest_images

Floats = NDArray[np.float64]
_AT_ONCE = 128  # generations


@dataclass(frozen=True)
class Match:
    """A generation and its nearest training image; all but the seed is None where it could not be drawn.

    Attributes:
        seed: Of its noise.
        file: Of the generation, relative to the directory of the run.
        nearest: The training image, relative to its folder.
        distance: Root mean square difference of the two, of pixels in [0, 1].
        ratio: That over the mean distance to the nearest training images, see :class:`~memdet.extraction.rule.Rule`.
        copied: Whether it counts as a copy.
        sscd, most_similar: Largest cosine with a training image, and which that is; None where SSCD is not valid.
    """

    seed: int
    file: str | None = None
    nearest: str | None = None
    distance: float | None = None
    ratio: float | None = None
    copied: bool | None = None
    sscd: float | None = None
    most_similar: str | None = None


@dataclass(frozen=True)
class Copies:
    """What the generations of one prompt are.

    Attributes:
        matches: One a noise seed.
        copied, drawn: How many count as copies, of how many that could be drawn.
        rate: Extraction rate: the share that are copies, with Wilson's interval over seeds; None where none was drawn.
    """

    matches: tuple[Match, ...]
    copied: int
    drawn: int
    rate: Interval | None

    @property
    def closest(self) -> Match:
        """The generation that is nearest to a training image, by its ratio."""
        return min(self.matches, key=lambda match: float("inf") if match.ratio is None else match.ratio)


@dataclass(frozen=True)
class Comparison:
    """All prompts against the training images.

    Attributes:
        rule: When a generation counts as a copy.
        sscd: Whether SSCD was asked too.
        prompts: One a prompt, as they were given.
    """

    rule: Rule
    sscd: Sscd
    prompts: tuple[Copies, ...]


def compare(
    images: TrainingImages,
    embedded: Embedded,
    prompts: Sequence[Sequence[Path | None]],
    reference: Sequence[Sequence[Path | None]],
    root: Path,
) -> Comparison:
    """Find the nearest training image of each generation, set the threshold, and count.

    Args:
        images: From :func:`~memdet.extraction.training_images.read_images`.
        embedded: SSCD of the same images.
        prompts: Files of the generations of each prompt, one a seed from 0; None for one that could not be drawn.
        reference: The same of prompts that were never trained; empty without any.
        root: The directory from which the files start.
    """
    sscd = embedded.judged()
    of_reference = _nearest(reference, images, embedded, sscd, root)
    sscd = with_reference(sscd, [m.sscd for matches in of_reference for m in matches if m.sscd is not None])
    known = [m.ratio for matches in of_reference for m in matches if m.ratio is not None]
    used = sum(any(match.ratio is not None for match in matches) for matches in of_reference)
    rule = rule_of(len(images.files), known, used, _among(images))
    found = _nearest(prompts, images, embedded, sscd, root)
    return Comparison(rule, sscd, tuple(_counted(matches, rule) for matches in found))


def _nearest(
    prompts: Sequence[Sequence[Path | None]], images: TrainingImages, embedded: Embedded, sscd: Sscd, root: Path
) -> list[list[Match]]:
    """The generations of each prompt, each beside its nearest training image, not judged yet."""
    matches = [[Match(seed) for seed in range(len(files))] for files in prompts]
    drawn = [
        (row, seed, file) for row, files in enumerate(prompts) for seed, file in enumerate(files) if file is not None
    ]
    for start in range(0, len(drawn), _AT_ONCE):
        part = drawn[start : start + _AT_ONCE]
        full = [generation_pixels(root / file, images.size) for *_, file in part]
        distances, where = _distances([compared(one, images.size) for one in full], images)
        cosines, alike = embedded.most_similar(full) if sscd.status == "valid" else (None, None)
        for index, ((row, seed, file), ratio) in enumerate(zip(part, ratios(distances), strict=True)):
            matches[row][seed] = Match(
                seed,
                file.as_posix(),
                images.files[where[index]].as_posix(),
                float(distances[index, 0]),
                float(ratio),
                sscd=None if cosines is None else float(cosines[index]),
                most_similar=None if alike is None else images.files[alike[index]].as_posix(),
            )
    return matches


def _counted(matches: Sequence[Match], rule: Rule) -> Copies:
    """The matches of a prompt, judged by the rule."""
    judged = [
        match if match.ratio is None else replace(match, copied=match.ratio < rule.threshold) for match in matches
    ]
    copied, drawn = sum(match.copied is True for match in judged), sum(match.copied is not None for match in judged)
    return Copies(tuple(judged), copied, drawn, share_interval(copied, drawn) if drawn else None)


def _distances(generated: Sequence[Pixels], images: TrainingImages) -> tuple[Floats, NDArray[np.int64]]:
    """Distances in [0, 1] to the nearest training images of the rule, and the nearest one of each."""
    import torch

    known = torch.from_numpy(images.pixels)
    distances, where = nearest_images(torch.from_numpy(np.stack(generated)), known, neighbours_of(len(known)))
    return distances.numpy() / 255, where[:, 0].numpy()


def _among(images: TrainingImages) -> Floats:
    """Ratio of each training image among the others."""
    import torch

    known = torch.from_numpy(images.pixels)
    count = neighbours_of(len(known))
    found = []
    for part in torch.split(known, 1_000):
        distances, _ = nearest_images(part, known, min(count + 1, len(known)))
        found.append(distances.numpy()[:, 1:])  # the first is the image itself
    return ratios(np.concatenate(found))
