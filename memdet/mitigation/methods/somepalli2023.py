"""A caption with something random in it (Somepalli et al., NeurIPS 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveFloat, PositiveInt

from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler
    from memdet.models.condition import Condition

LARGEST = 100_000  # random numbers are smaller


class RandomisedCaption(Mitigation):
    """The protocol's generation from a caption into which something random was put.

    Paper: Somepalli, Singla, Goldblum, Geiping, Goldstein, "Understanding and Mitigating Copying in Diffusion Models",
    NeurIPS 2023, arXiv 2305.20086, on mitigation at inference. Words are put in at random places between those of the
    caption, one after the other.

    Attributes:
        change: ``tokens``: tokens of the model's vocabulary. ``numbers``: whole numbers below 100,000. ``repeat``:
            words of the caption itself, of those that were put in too. ``noise``: normal noise on the embedding.
        repeats: How many words, for all but ``noise``.
        scale: Standard deviation of the noise.
    """

    info = MitigationInfo(
        name="somepalli2023",
        title="random tokens, numbers or repeated words in the caption, or noise on its embedding",
        paper="somepalli2023understanding",
        year=2023,
        access="text",
        cost="2 T F",
        fidelity="deviates",
        deviation=(
            "the authors' script adds noise to the embedding of the empty caption too; here the caption's alone is "
            "changed. Special tokens are never put in."
        ),
    )
    change: Literal["tokens", "numbers", "repeat", "noise"] = "tokens"
    repeats: PositiveInt = 4
    scale: PositiveFloat = 0.1

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: Conditions are not text, or for ``noise`` no embedding.
        """
        condition = self._noisy(sampler) if self.change == "noise" else sampler.embedded(self.captions(sampler))
        return sampler.follow(sampler.start(), condition=condition)

    def captions(self, sampler: Sampler) -> list[str]:
        """What is asked for in place of each item's caption."""
        known = sampler.model.vocabulary() if self.change == "tokens" else ()
        draw: dict[str, Callable[[np.random.Generator, str], str]] = {
            "tokens": lambda random, _: known[int(random.integers(len(known)))],
            "numbers": lambda random, _: str(random.integers(LARGEST)),
            "repeat": lambda random, caption: str(random.choice(caption.split(" "))),
        }
        changed = []
        for caption, random in zip(sampler.prompts, sampler.random(f"somepalli2023 {self.change}"), strict=True):
            for _ in range(self.repeats):
                words = caption.split(" ")
                words.insert(int(random.integers(len(words) + 1)), draw[self.change](random, caption))
                caption = " ".join(words)
            changed.append(caption)
        return changed

    def _noisy(self, sampler: Sampler) -> Condition:
        import numpy as np
        import torch

        own = sampler.embedding
        drawn = [random.standard_normal(own.shape[1:]) for random in sampler.random("somepalli2023 noise")]
        noise = torch.from_numpy(np.stack(drawn)).to(own)
        return sampler.with_embedding(own + self.scale * noise)
