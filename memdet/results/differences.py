"""In what the settings of two runs differ, said of each thing by its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memdet.results.manifest import DetectorEntry, SampleSetEntry, Settings

_SHOWN = 3
_PROTOCOL = ("model", "dtype", "steps", "guidance", "noise", "seeds", "batch_size")


def described_differences(old: Settings, new: Settings) -> list[str]:
    """What differs between a run that is there and one that is asked for, a phrase each.

    Hashes that an older memdet did not keep are not compared, but for a detector's code: of a plugin without one nobody
    can tell whether it is the same.
    """
    found = [
        f"{name} {getattr(old, name)}, now {getattr(new, name)}"
        for name in ("memdet", "device", "accelerate")
        if getattr(old, name) != getattr(new, name)
    ]
    sets = {entry.id: entry for entry in old.sample_sets}, {entry.id: entry for entry in new.sample_sets}
    detectors = {entry.label: entry for entry in old.detectors}, {entry.label: entry for entry in new.detectors}
    for what, (before, after) in (("sample set", sets), ("detector", detectors)):
        found += [f"{what} {name} is not in it" for name in after if name not in before]
        found += [f"{what} {name} is in it, and is not asked for" for name in before if name not in after]
        if before.keys() == after.keys() and list(before) != list(after):
            found.append(f"the {what}s are in another order")
    for name in sets[0].keys() & sets[1].keys():
        found += _of_sample_set(sets[0][name], sets[1][name])
    for label in detectors[0]:
        if label in detectors[1]:
            found += _of_detector(detectors[0][label], detectors[1][label])
    return list(dict.fromkeys(found))


def other_packages(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Packages of which a run that goes on would have two versions, a phrase each; none that an older memdet left out.

    Example:
        >>> other_packages({"torch": "2.7.0", "numpy": "2.1.0"}, {"torch": "2.8.0", "numpy": "2.1.0"})
        ['torch 2.7.0, now 2.8.0']
    """
    return [f"{name} {old[name]}, now {version}" for name, version in new.items() if old.get(name, version) != version]


def changed_names(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Names of what is in one alone or has another hash, in parentheses; the first few."""
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return f"({', '.join(names[:_SHOWN])}{f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''})"


def _of_detector(old: DetectorEntry, new: DetectorEntry) -> Iterator[str]:
    for name in ("version", "access", "seeded"):
        if getattr(old, name) != getattr(new, name):
            yield f"detector {new.label}: {name} {getattr(old, name)}, now {getattr(new, name)}"
    if old.code == new.code:
        return
    if old.code:
        yield f"detector {new.label}: its code changed {changed_names(old.code, new.code)}"
    else:
        yield f"detector {new.label}: of its code then no checksum was kept"


def _of_sample_set(old: SampleSetEntry, new: SampleSetEntry) -> Iterator[str]:
    for name in ("version", *_PROTOCOL):
        if getattr(old, name) != getattr(new, name):
            yield f"sample set {new.id}: {name} {getattr(old, name)}, now {getattr(new, name)}"
    known = bool(old.items and new.items)
    if known and old.items != new.items:
        splits = [name for name in ("test", "dev") if old.items.get(name) != new.items.get(name)]
        yield f"sample set {new.id}: its {' and '.join(splits)} items changed"
    elif old.content_hash != new.content_hash:
        yield f"sample set {new.id}: its spec or data file changed"
    yield from _of_models(old, new)


def _of_models(old: SampleSetEntry, new: SampleSetEntry) -> Iterator[str]:
    for name in _both(old.model_hashes, new.model_hashes):
        before, after = old.model_files.get(name), new.model_files.get(name)
        if before and after and before != after:
            yield f"model {name}: its files changed {changed_names(before, after)}"
        elif old.model_hashes[name] != new.model_hashes[name]:
            yield f"model {name}: it is another one"
    if old.model_hashes.keys() != new.model_hashes.keys():
        yield f"sample set {new.id}: models {', '.join(old.model_hashes)}, now {', '.join(new.model_hashes)}"


def _both(old: Iterable[str], new: Iterable[str]) -> list[str]:
    there = set(new)
    return [name for name in old if name in there]
