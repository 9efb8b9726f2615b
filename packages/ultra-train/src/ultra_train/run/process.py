"""One process of a run, set up to train: its device, its console, its signals, its plugins."""

from __future__ import annotations

import os
from typing import Any

import attrs
import torch
from transformers.utils import logging as transformers_logging

from ultra_core.plugins.hooks import plugin_manager
from ultra_train.config import to_tree
from ultra_train.config.integrations import environment
from ultra_train.run.console import RunConsole
from ultra_train.run.device import check_machine, pick_device
from ultra_train.run.request import Request
from ultra_train.run.sameness import check_same_settings
from ultra_train.run.strategy import pick_strategy
from ultra_train.system.heap import keep_freed_memory
from ultra_train.system.process_group import Group
from ultra_train.system.processes import Processes
from ultra_train.system.signals import Signals
from ultra_train.trainer.fully_sharded import load_on_every_process


@attrs.frozen(kw_only=True)
class RunProcess:
    """One process of a run.

    Attributes:
        request: what the run is asked for.
        here: which process it is.
        device: where it trains.
        signals: its signals.
        console: where it prints; all processes but the first print nothing.
        plugins: the plugin manager, for hooks.
    """

    request: Request
    here: Processes
    device: torch.device
    signals: Signals
    console: RunConsole
    plugins: Any

    @property
    def main(self) -> bool:
        """Whether it is the first process, which holds the lock of the folder, and alone writes into it."""
        return self.here.main

    def say(self, line: str) -> None:
        """Print a line."""
        self.console.print(line, markup=False)


def set_up_process(request: Request, group: Group) -> RunProcess:
    """Refuse what this machine does not support, and set up this process of a run.

    Raises:
        UltraError: the machine lacks something, or the processes were started differently.
    """
    preset, training, here = request.preset, request.training, group.here
    transformers_logging.set_verbosity_error()
    device = pick_device(request.where, here)
    check_machine(training, device)
    if device.type == "cpu":
        keep_freed_memory()
    if here.several:
        if pick_strategy(training) == "fsdp":
            load_on_every_process()
        group.open(device.type)
    options = {"--resume": request.resume, "--fit-memory": request.fit_memory}
    check_same_settings(here, {**options, **to_tree(preset)})
    os.environ.update(environment(preset.mlflow, training.report_to))
    plugins = plugin_manager()
    plugins.hook.ultra_config_loaded(config=preset)
    signals = Signals()
    return RunProcess(
        request=request,
        here=here,
        device=device,
        signals=signals,
        console=RunConsole(signals, quiet=not here.main),
        plugins=plugins,
    )
