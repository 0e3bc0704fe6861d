"""The table as ``model-index``, the evaluation results in the front matter of a Hugging Face model card."""

from __future__ import annotations

from typing import Any

from memdet.tables.rows import Rows

TASK = "memorization-detection"
# Field of a row, type and name of the metric.
_METRICS = (
    ("auroc", "roc_auc", "AUROC"),
    ("tpr_at_1_fpr", "tpr_at_1_fpr", "TPR at 1 % FPR"),
    ("gain_over_control", "gain_over_control", "AUROC minus that of the best control"),
    ("forwards", "forwards", "network forwards an item and seed"),
    ("jvps", "jvps", "Jacobian products an item and seed, forward mode"),
    ("vjps", "vjps", "Jacobian products an item and seed, reverse mode"),
)


def to_model_index(rows: Rows) -> str:
    """YAML: an entry a detector, a result a sample set, with intervals; rows without numbers are left out."""
    import yaml
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results: dict[str, list[Any]] = {}
    for row in rows:
        for field, kind, name in _METRICS:
            if row["auroc"] is None or row[field] is None:
                continue
            of_metric: dict[str, Any] = {}
            if f"{field}_low" in row:
                of_metric = {"confidence": 0.95, "low": row[f"{field}_low"], "high": row[f"{field}_high"]}
            if field == "gain_over_control":
                of_metric["control"] = row["best_control"]
            results.setdefault(row["detector"], []).append(
                EvalResult(
                    task_type=TASK,
                    task_name="Detection of memorized items",
                    dataset_type=row["sample_set"],
                    dataset_name=f"{row['sample_set']} v{row['sample_set_version']}",
                    dataset_config=row["stratum"],
                    dataset_split="test",
                    dataset_revision=f"v{row['sample_set_version']}",
                    dataset_args={key: row[key] for key in ("n_positive", "n_negative", "n_clusters", "seeds")},
                    metric_type=kind,
                    metric_name=name,
                    metric_value=row[field],
                    metric_args=of_metric or None,
                )
            )
    index = [entry for label, found in results.items() for entry in eval_results_to_model_index(label, found)]
    return yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True).rstrip("\n")
