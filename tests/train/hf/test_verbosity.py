from __future__ import annotations

import pytest
from transformers.utils import logging

from ultra_train.hf.verbosity import transformers_errors_only


@pytest.mark.parametrize("bars", [True, False])
def test_verbosity_and_progress_bars_are_restored(bars):
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_info()
        (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
        with transformers_errors_only():
            assert logging.get_verbosity() == logging.ERROR
            assert not logging.is_progress_bar_enabled()
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.INFO, bars)
        with pytest.raises(KeyError), transformers_errors_only():
            raise KeyError
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.INFO, bars)
    finally:
        logging.set_verbosity(before[0])
        (logging.enable_progress_bar if before[1] else logging.disable_progress_bar)()
