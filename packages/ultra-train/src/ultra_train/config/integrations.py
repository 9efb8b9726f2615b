"""The section ``mlflow``, and the settings of the logging integrations of transformers."""

from __future__ import annotations

import json

import attrs

from ultra_train.config.keys import key


@attrs.frozen(kw_only=True)
class MlflowConfig:
    """Settings of the MLflow integration; they act where ``report_to`` names mlflow."""

    tracking_uri: str | None = key(None, "server or folder of the runs")
    experiment_name: str | None = key(None, "experiment that the run belongs to")
    run_id: str | None = key(None, "run that is continued")
    nested_run: bool | None = key(None, "start a run inside the current one")
    log_artifacts: bool | None = key(None, "copy checkpoints to the server")
    flatten_params: bool | None = key(None, "log parameters without nesting")
    tags: dict[str, str | bool | int | float | None] = key(help="tags of the run", factory=dict)


VARIABLES = {
    "tracking_uri": "MLFLOW_TRACKING_URI",
    "experiment_name": "MLFLOW_EXPERIMENT_NAME",
    "run_id": "MLFLOW_RUN_ID",
    "nested_run": "MLFLOW_NESTED_RUN",
    "log_artifacts": "HF_MLFLOW_LOG_ARTIFACTS",
    "flatten_params": "MLFLOW_FLATTEN_PARAMS",
}
"""The variables of the environment that transformers' integration reads."""


ReportTo = str | tuple[str, ...] | None
"""How a preset may write ``report_to``."""


def reporters(report_to: ReportTo) -> tuple[str, ...]:
    """Return the integrations that a ``report_to`` names: one, several, or none."""
    return (report_to,) if isinstance(report_to, str) else report_to or ()


def environment(mlflow: MlflowConfig | None, report_to: ReportTo) -> dict[str, str]:
    """Return the variables of the environment that tell the integrations of a run what the preset says."""
    if mlflow is None or not reports_to("mlflow", report_to):
        return {}
    said = {variable: getattr(mlflow, name) for name, variable in VARIABLES.items()}
    found = {variable: str(value) for variable, value in said.items() if value is not None}
    return found | ({"MLFLOW_TAGS": json.dumps(mlflow.tags)} if mlflow.tags else {})


def reports_to(name: str, report_to: ReportTo) -> bool:
    """Whether a ``report_to`` names an integration."""
    return bool({name, "all"} & set(reporters(report_to)))
