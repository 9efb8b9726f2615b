"""What a process of a run sets up and refuses before there is a folder."""

from __future__ import annotations

import pytest
from transformers.utils import logging

from ultra_core.errors import UltraError


def test_transformers_warns_of_nothing_in_a_run(run_tiny, tmp_path):
    before = logging.get_verbosity()
    try:
        logging.set_verbosity_warning()
        run_tiny(tmp_path, "training.max_steps=1")
        assert logging.get_verbosity() == logging.ERROR
    finally:
        logging.set_verbosity(before)


@pytest.mark.parametrize("name", ["wandbb", "wandb"])
def test_a_report_that_cannot_be_made_is_said_before_anything_else(run_tiny, tmp_path, monkeypatch, name):
    monkeypatch.setattr("ultra_train.run.device.get_available_reporting_integrations", lambda: [])
    expected = "Did you mean 'wandb'" if name == "wandbb" else "'wandb' is not installed"
    with pytest.raises(UltraError, match=expected):
        run_tiny(tmp_path, f"training.report_to=[{name}]")
    assert not list(tmp_path.iterdir())
