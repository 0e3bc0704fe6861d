"""Another caption that names the same thing: what is left of extraction when the caption is not used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.errors import NotApplicableError
from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler


class OtherCaption(Mitigation):
    """The protocol's generation from another caption of the sample set that names the same class.

    Which one is drawn from the seed and the item. Its own training image may come out; that of the item does so by
    chance alone.
    """

    info = MitigationInfo(
        name="other-caption",
        title="another caption of the set, of the same class",
        access="text",
        cost="2 T F",
        is_control=True,
    )

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: A caption names no class that memdet knows, or no other caption names it.
        """
        from memdet.models.garments import garment_of

        by_class: dict[str, list[str]] = {}
        for caption in dict.fromkeys(sampler.whole.captions):
            by_class.setdefault(garment_of(caption) or "", []).append(caption)
        chosen = []
        for caption, random in zip(sampler.prompts, sampler.random("other-caption"), strict=True):
            named = garment_of(caption)
            if named is None:
                raise NotApplicableError(f"caption {caption!r} names no class that memdet knows")
            others = [other for other in by_class.get(named, []) if other != caption]
            if not others:
                raise NotApplicableError(f"no other caption of the set names {named!r}")
            chosen.append(others[random.integers(len(others))])
        return sampler.follow(sampler.start(), condition=sampler.embedded(chosen))
