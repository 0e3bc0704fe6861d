"""Sample sets: specs, data and checksums, without torch."""

from memdet.samplesets.fetch import Fetcher, specs_directory
from memdet.samplesets.items import Item
from memdet.samplesets.load import (
    load_sample_set,
    load_samples_file,
    load_spec,
    load_suite,
    sample_set_ids,
    suite_names,
)
from memdet.samplesets.prompt_pair import load_prompt_pair
from memdet.samplesets.prompts import PromptFile, read_prompts, scan_set
from memdet.samplesets.sample_set import SampleSet
from memdet.samplesets.spec import Protocol, SampleSetSpec, SuiteSpec, json_schema

__all__ = [
    "Fetcher",
    "Item",
    "PromptFile",
    "Protocol",
    "SampleSet",
    "SampleSetSpec",
    "SuiteSpec",
    "json_schema",
    "load_prompt_pair",
    "load_sample_set",
    "load_samples_file",
    "load_spec",
    "load_suite",
    "read_prompts",
    "sample_set_ids",
    "scan_set",
    "specs_directory",
    "suite_names",
]
