"""How much of a prompt a pipeline reads: its tokenizers are listened to while its own call encodes a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from memdet.models.diffusers.adapters import expanded
from memdet.models.diffusers.quiet import quiet

MARK = "memdet"  # a prompt that is found again in what the tokenizers are given


@dataclass(frozen=True)
class Reading:
    """What a pipeline makes of a prompt for one of its tokenizers.

    Attributes:
        tokenizer: That it gives it to.
        before: Text that it puts before the prompt; what follows it is the first to be cut, and does not count.
        limit: Tokens that it keeps, special ones and those of the text before included.
        special: Whether it asks for special tokens.
    """

    tokenizer: Any
    before: str
    limit: int
    special: bool = True

    def cuts(self, prompts: Sequence[str]) -> list[bool]:
        """Whether each prompt, with what stands before it, has more tokens than are kept."""
        texts = [f"{self.before}{prompt}" for prompt in expanded(prompts, self.tokenizer)]
        rows = self.tokenizer(texts, add_special_tokens=self.special).input_ids
        return [len(row) > self.limit for row in rows]


def readings(pipeline: Any, tell: Callable[[list[str]], object], most: int | None = None) -> list[Reading]:
    """Listen to the tokenizers of a pipeline while it is told a prompt.

    Args:
        pipeline: Of diffusers.
        tell: Has it encode prompts.
        most: Tokens that it keeps of what was encoded, where it cuts afterwards; with those that it drops before.

    Returns:
        One for each tokenizer that cuts; none where nothing is ever cut.
    """
    heard: list[Reading] = []
    with _listened(pipeline, heard):
        tell([MARK])
    found: dict[int, Reading] = {}
    for reading in heard:
        kept = found.setdefault(id(reading.tokenizer), reading)
        limit = min(kept.limit, reading.limit, reading.limit if most is None else most)
        found[id(reading.tokenizer)] = replace(reading, limit=limit)
    return list(found.values())


def cut(found: Sequence[Reading], prompts: Sequence[str]) -> list[bool]:
    """Whether the end of each prompt is read by no tokenizer.

    Args:
        found: Of the pipeline.
        prompts: As users write them.
    """
    if not found or not prompts:
        return [False] * len(prompts)
    with quiet():  # tokenizers warn of what is asked here
        return [all(each) for each in zip(*(reading.cuts(prompts) for reading in found), strict=True)]


class _Listener:
    """Stands in for a tokenizer, and writes down what it is asked to cut."""

    def __init__(self, inner: Any, heard: list[Reading]) -> None:
        self._inner, self._heard = inner, heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, text: Any = None, *arguments: Any, **named: Any) -> Any:
        limit, first = named.get("max_length"), text if isinstance(text, str) else next(iter(text or ()), "")
        if limit is None:
            limit = self._inner.model_max_length
        if named.get("truncation") is True and isinstance(first, str) and MARK in first:
            special = named.get("add_special_tokens", True)
            self._heard.append(Reading(self._inner, first.partition(MARK)[0], int(limit), special))
        return self._inner(text, *arguments, **named)


@contextmanager
def _listened(pipeline: Any, heard: list[Reading]) -> Iterator[None]:
    """Inside, every tokenizer of a pipeline is a listener; the pipeline's own check of its parts is passed by."""
    own = {name: part for name, part in vars(pipeline).items() if name.startswith("tokenizer") and callable(part)}
    vars(pipeline).update({name: _Listener(part, heard) for name, part in own.items()})
    try:
        yield
    finally:
        vars(pipeline).update(own)
