"""Does a model give back its training images? Its generations against all of them; no detector takes part."""

from memdet.extraction.compare import Comparison, Copies, Match, compare
from memdet.extraction.folder import TrainingFolder, captions_of, open_folder, prompts_of
from memdet.extraction.result import Extraction, PromptResult, ordered, share_of
from memdet.extraction.rule import Rule
from memdet.extraction.sscd import Embedded, Sscd
from memdet.extraction.training_images import Size, TrainingImages, read_images

__all__ = [
    "Comparison",
    "Copies",
    "Embedded",
    "Extraction",
    "Match",
    "PromptResult",
    "Rule",
    "Size",
    "Sscd",
    "TrainingFolder",
    "TrainingImages",
    "captions_of",
    "compare",
    "open_folder",
    "ordered",
    "prompts_of",
    "read_images",
    "share_of",
]
