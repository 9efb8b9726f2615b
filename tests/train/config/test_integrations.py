"""The section mlflow: typed, passed to the integration that report_to names, else said to be idle."""

import inspect
import json
import os

import pytest
from transformers.integrations.integration_utils import MLflowCallback

from ultra_core.errors import UltraError
from ultra_train.config.integrations import VARIABLES, MlflowConfig, environment
from ultra_train.run import process, request
from ultra_train.run.execution import execute

SECTION = "mlflow={tracking_uri: 'file:x', experiment_name: mine, nested_run: true, tags: {a: b, n: 1}}"


def test_variables_of_the_integration():
    mlflow = MlflowConfig(tracking_uri="file:x", log_artifacts=True, tags={"a": "b"})
    said = environment(mlflow, ("tensorboard", "mlflow"))
    assert said == {
        "MLFLOW_TRACKING_URI": "file:x",
        "HF_MLFLOW_LOG_ARTIFACTS": "True",
        "MLFLOW_TAGS": json.dumps({"a": "b"}),
    }
    assert environment(mlflow, ("tensorboard",)) == environment(None, ("mlflow",)) == {}


def test_they_are_those_that_transformers_reads():
    source = inspect.getsource(MLflowCallback)
    for variable in (*VARIABLES.values(), "MLFLOW_TAGS"):
        assert f'"{variable}"' in source


def test_a_run_tells_them(load, minimal, monkeypatch):
    def stop(*_):
        raise UltraError("far enough")

    for variable in (*VARIABLES.values(), "MLFLOW_TAGS"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr(process, "check_machine", lambda *_: None)
    monkeypatch.setattr(request, "check_output_paths", stop)
    with pytest.raises(UltraError, match="far enough"):
        execute(load(minimal, SECTION, "training.report_to=[mlflow]"), device="cpu")
    assert os.environ["MLFLOW_EXPERIMENT_NAME"] == "mine"
    assert os.environ["MLFLOW_NESTED_RUN"] == "True"
    assert json.loads(os.environ["MLFLOW_TAGS"]) == {"a": "b", "n": 1}


def test_it_is_idle_where_nothing_reports_to_it(load, minimal):
    (line,) = load(minimal, SECTION).notices
    assert line == "no effect in this run: mlflow"
    assert load(minimal, SECTION, "training.report_to=[mlflow]").notices == ()
