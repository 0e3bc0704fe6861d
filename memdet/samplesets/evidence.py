"""Which items are one piece of evidence, however often they are listed, and what no list of evidence may say.

Two items are the same evidence where one model is asked the same thing:

- images: the pictures are equal, pixel by pixel;
- prompts: the texts are equal but for case, white space and the composition of Unicode characters (:func:`same_text`);
- other conditions: they are equal, and all items start from one noise, so that their scores are equal too. Where each
  item has a starting noise of its own, an item is a draw, and draws are as many pieces of evidence as the set says.

The same prompt under two models is evidence about each of them.

One piece of evidence is in one cluster. Of prompts and images this holds whatever clusters a set states; a set of other
conditions that states its clusters is believed, for it alone knows what a draw of its condition is.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

from memdet.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_SHOWN = 3
_LONGEST = 60  # letters of a prompt in a message


def same_text(prompt: str) -> str:
    r"""The form in which two prompts are compared: Unicode NFC, no case, one space between words, none around them.

    Example:
        >>> same_text("  A\tCafe\u0301 ") == same_text("a caf\u00e9")
        True
    """
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", prompt).casefold()).split())


def evidence_of(items: pd.DataFrame, *, has_prompts: bool, noise: str) -> NDArray[np.int64] | None:
    """Number of the evidence of each item, ``[n]``: from 0, in the order in which they first occur.

    Args:
        items: With ``condition`` and ``model``, and in the task ``image`` with ``image``.
        has_prompts: Whether the conditions are text.
        noise: Of the protocol, ``shared`` or ``per-item``.

    Returns:
        None where every item is a draw of its own.
    """
    import numpy as np

    if not {"condition", "model"} <= set(items):
        return None
    has_images = _has_images(items)
    if not (has_images or has_prompts or noise == "shared"):
        return None
    seen: dict[Hashable, int] = {}
    keys = _pictures(items) if has_images else _conditions(items, has_prompts)
    numbers = (seen.setdefault(key, len(seen)) for key in zip(items["model"], keys, strict=True))
    return np.fromiter(numbers, np.int64, len(items))


def joined_clusters(clusters: Sequence[str], evidence: NDArray[np.int64]) -> list[str]:
    """Clusters of items, those that hold the same evidence made one.

    Args:
        clusters: ``[n]``, as they were given.
        evidence: ``[n]``, from :func:`evidence_of`.

    Returns:
        ``[n]``; clusters that were joined have the name of the first of them.

    Example:
        >>> import numpy as np
        >>> joined_clusters(["a", "b", "b", "c", "d"], np.array([0, 0, 1, 1, 2]))
        ['a', 'a', 'a', 'a', 'd']
    """
    above: dict[str, str] = {}

    def root(name: str) -> str:
        while (upper := above.get(name, name)) != name:
            above[name] = name = above.get(upper, upper)
        return name

    holder: dict[int, str] = {}
    order: dict[str, int] = {}
    for cluster, number in zip(clusters, evidence.tolist(), strict=True):
        order.setdefault(cluster, len(order))
        one, other = root(holder.setdefault(number, cluster)), root(cluster)
        if one != other:
            first, later = sorted((one, other), key=order.__getitem__)
            above[later] = first
    return [root(cluster) for cluster in clusters]


def with_joined_clusters(items: pd.DataFrame, *, has_prompts: bool, noise: str, stated: bool = True) -> pd.DataFrame:
    """The items with each piece of evidence in one cluster; the same frame where nothing is to join.

    Args:
        items: A row an item; without a column ``cluster`` they stay as they are.
        has_prompts, noise: As for :func:`evidence_of`.
        stated: Whether the set states its clusters, rather than that each item is its own by default.
    """
    if "cluster" not in items or (stated and not has_prompts and not _has_images(items)):
        return items
    evidence = evidence_of(items, has_prompts=has_prompts, noise=noise)
    if evidence is None or not len(items) or evidence.max() + 1 == len(items):
        return items
    clusters = items["cluster"].tolist()
    joined = joined_clusters(clusters, evidence)
    return items if joined == clusters else items.assign(cluster=joined)


def in_both(items: pd.DataFrame, evidence: NDArray[np.int64] | None, column: str) -> NDArray[np.bool_]:
    """Which items are evidence that stands under several values of a column, ``[n]``.

    Args:
        items: With the column.
        evidence: ``[n]``, from :func:`evidence_of`.
        column: ``label`` or ``split``.
    """
    import numpy as np
    import pandas as pd

    if evidence is None or not len(items) or evidence.max() + 1 == len(items):
        return np.zeros(len(items), dtype=bool)
    codes = pd.factorize(items[column])[0]
    differ = np.zeros(int(evidence.max()) + 1, dtype=bool)
    first = np.unique(evidence, return_index=True)[1]
    differ[evidence[codes != codes[first][evidence]]] = True
    found: NDArray[np.bool_] = differ[evidence]
    return found


def refuse_contradictions(items: pd.DataFrame, where: str, *, has_prompts: bool, noise: str) -> None:
    """Refuse evidence that speaks against itself, or that is tested with constants taken from it.

    Args:
        items: With ``item_id``, ``label`` and ``split`` too.
        where: They stand, for messages.
        has_prompts, noise: As for :func:`evidence_of`.

    Raises:
        UserError: The same evidence is under both labels, or in both splits; names the first of it.
    """
    evidence = evidence_of(items, has_prompts=has_prompts, noise=noise)
    what = "image" if _has_images(items) else "prompt" if has_prompts else "condition"
    for column, why, mend in (
        ("label", "labelled both 1 and 0", "give each one label, or leave it out"),
        ("split", "in both dev and test", "keep each in one split: constants are fitted on dev"),
    ):
        if column not in items or items[column].isna().any():
            continue
        wrong = in_both(items, evidence, column)
        if evidence is not None and wrong.any():
            shown = "; ".join(_told(items[wrong], evidence[wrong]))
            n = len(set(evidence[wrong].tolist()))
            counted = f"1 {what} is" if n == 1 else f"{n} {what}s are"
            raise UserError(f"{where}: {counted} {why} ({shown}); {mend}")


def _told(items: pd.DataFrame, evidence: NDArray[np.int64]) -> Iterator[str]:
    """The first pieces of evidence, each with its items."""
    numbers = list(dict.fromkeys(evidence.tolist()))
    for number in numbers[:_SHOWN]:
        own = items[evidence == number]
        names = own["item_id"].tolist()
        named = "" if _has_images(items) else f"{own['condition'].iloc[0][:_LONGEST]!r}, "
        yield f"{named}items {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
    if len(numbers) > _SHOWN:
        yield f"and {len(numbers) - _SHOWN} more"


def _has_images(items: pd.DataFrame) -> bool:
    return "image" in items and len(items) > 0 and bool(items["image"].notna().all())


def _pictures(items: pd.DataFrame) -> Iterator[Hashable]:
    return ((image.shape, hashlib.sha256(image.tobytes()).digest()) for image in items["image"])


def _conditions(items: pd.DataFrame, has_prompts: bool) -> Iterator[Hashable]:
    for text in items["condition"]:  # of which a set may have a hundred thousand: what is kept of each is short
        plain = same_text(text) if has_prompts else str(text)
        yield hashlib.blake2b(plain.encode(errors="surrogatepass"), digest_size=16).digest()
