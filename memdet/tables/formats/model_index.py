"""The table as ``model-index``, the evaluation results in the front matter of a Hugging Face model card."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from memdet.tables.rows import Row, Rows

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TASK = "memorization-detection"
# Field of a row, type and name of the metric.
_METRICS = (
    ("auroc", "roc_auc", "AUROC"),
    ("tpr_at_1_fpr", "tpr_at_1_fpr", "TPR at 1 % FPR"),
    ("gain_over_control", "gain_over_control", "AUROC minus that of the best control"),
    ("forwards", "forwards", "network forwards per item and seed"),
    ("jvps", "jvps", "Jacobian products per item and seed, forward mode"),
    ("vjps", "vjps", "Jacobian products per item and seed, reverse mode"),
)


def to_model_index(rows: Rows) -> str:
    """YAML: an entry for each detector, a result for each sample set, with intervals.

    Rows without numbers are left out.

    The hub's own reader (``huggingface_hub.ModelCard``) puts the results of all entries under the name of the last one,
    and joins what differs in the metric alone. So every metric says itself which detector it is of, in ``config`` and
    at the end of its name; where the rows are of several runs, it says the run too.
    """
    import yaml
    from huggingface_hub.repocard_data import eval_results_to_model_index

    several = len({row["run"] for row in rows}) > 1
    results: dict[str, list[EvalResult]] = {}
    for row in rows:
        name = row["detector"] + (f", run {row['run']}" if several else "")
        if found := list(_results(row, name)):
            results.setdefault(name, []).extend(found)
    index = [entry for name, found in results.items() for entry in eval_results_to_model_index(name, found)]
    return yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True).rstrip("\n")


def _results(row: Row, name: str) -> Iterator[EvalResult]:
    """One for each metric that is defined; none of a row without an AUROC."""
    from huggingface_hub import EvalResult

    for field, kind, metric in _METRICS:
        if row["auroc"] is None or row[field] is None:
            continue
        arguments: dict[str, Any] = {}
        if f"{field}_low" in row:
            arguments = {"confidence": 0.95, "low": row[f"{field}_low"], "high": row[f"{field}_high"]}
        if field == "gain_over_control":
            arguments["control"] = row["best_control"]
        yield EvalResult(
            task_type=TASK,
            task_name="Detection of memorized items",
            dataset_type=row["sample_set"],
            dataset_name=f"{row['sample_set']} v{row['sample_set_version']}",
            dataset_config=row["stratum"],
            dataset_split="test",
            dataset_revision=f"v{row['sample_set_version']}",
            dataset_args={key: row[key] for key in ("n_positive", "n_negative", "n_clusters", "seeds")},
            metric_type=kind,
            metric_name=f"{metric} ({name})",
            metric_config=name,
            metric_value=row[field],
            metric_args=arguments or None,
        )
