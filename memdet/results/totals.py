"""Sums over the shards of a run: what they say beside their rows."""

from __future__ import annotations

from memdet.results.manifest import Manifest
from memdet.results.shards import Notes


class Totals:
    """Sums of the notes of shards.

    Attributes:
        seconds: By sample set and detector.
        messages: Each distinct one once, by sample set and detector.
        halved: The smallest batch that fitted, by sample set.
        elapsed: Seconds from the start of each call of the run to its last shard.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}
        self.messages: dict[str, dict[str, list[str]]] = {}
        self.halved: dict[str, int] = {}
        self.elapsed: dict[int, float] = {}

    def add(self, notes: Notes) -> None:
        """Take the notes of one shard in."""
        for detector, value in notes.seconds.items():
            of_set = self.seconds.setdefault(notes.sample_set, {})
            of_set[detector] = of_set.get(detector, 0.0) + value
        for detector, message in notes.messages.items():
            known = self.messages.setdefault(notes.sample_set, {}).setdefault(detector, [])
            if message not in known:
                known.append(message)
        if notes.halved is not None:
            known_size = self.halved.get(notes.sample_set, notes.halved)
            self.halved[notes.sample_set] = min(known_size, notes.halved)
        self.elapsed[notes.call] = max(self.elapsed.get(notes.call, 0.0), notes.elapsed)

    def added_to(self, manifest: Manifest) -> Manifest:
        """The manifest of a finished run; what it says of the models stays."""
        names = dict.fromkeys([*self.messages, *manifest.messages])
        messages = {name: manifest.messages.get(name, {}) | self.messages.get(name, {}) for name in names}
        found = {"seconds": self.seconds, "messages": messages, "halved": self.halved, "finished": True}
        return manifest.model_copy(update=found)
