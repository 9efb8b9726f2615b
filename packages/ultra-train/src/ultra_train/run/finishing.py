"""The last stage of a run: its final metrics, its model, its report, the push to the hub."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ultra_train.run.card import write_card
from ultra_train.run.closing import print_closing_words
from ultra_train.run.context import Run
from ultra_train.run.model_folder import publish
from ultra_train.run.process import RunProcess
from ultra_train.run.pushing import pushed
from ultra_train.run.records import Records
from ultra_train.system import files, run_files
from ultra_train.system.owned_files import OwnedFiles

Metrics = Mapping[str, float]


def save_model(run: Run, process: RunProcess, records: Records) -> Metrics:
    """Write the finished model into its folder, and return its metrics."""
    metrics = _final_metrics(run.trainer)
    if run.training.load_best_model_at_end:
        metrics = run.trainer.load_best(metrics)
    run.trainer.unshard()
    run.model = run.trainer.model
    folder = model_folder(run)
    weights = sum(p.numel() * p.element_size() for p in run.model.parameters())

    def fill(where: Path) -> None:
        run.task.save(run.trainer, where)
        card, data = run.task.task.card, run.task.data_lines()
        fields = run.task.card_fields()
        write_card(where, run.config, card, metrics, run.trainer, data=data, fields=fields)

    def write() -> None:
        if process.main:
            publish(folder, fill, OwnedFiles(run.path), process.say)

    records.disk.write_together(write, "the finished model", folder, weights)
    return metrics


def finish(run: Run, process: RunProcess, records: Records, metrics: Metrics) -> None:
    """Write the report and print the results, while the model is pushed."""
    with _pushed(run, process):  # it ends after the others, which cannot wait for it as long as it may take
        records.report()
        if process.main:
            process.plugins.hook.ultra_run_finished(run=run)
            print_closing_words(run, model_folder(run), metrics, process.console)
        process.here.wait()  # so that all fail when the first process does


def _final_metrics(trainer: Any) -> Metrics:
    """Return the metrics of the finished model; evaluate it unless the last update was evaluated."""
    if trainer.eval_dataset is None:
        return {}
    step, metrics = trainer.last_evaluation
    if step != trainer.state.global_step:
        metrics = trainer.evaluate()
    return {k: float(v) for k, v in metrics.items() if isinstance(v, (int, float))}


def _pushed(run: Run, process: RunProcess) -> AbstractContextManager[Any]:
    if not process.main:
        return nullcontext()
    return pushed(run.training, run.path, model_folder(run), process.say)


def model_folder(run: Run) -> Path:
    """Return the folder of the finished model."""
    wanted = run.training.hf_output_dir
    return files.expand_user(wanted).absolute() if wanted else run.path / run_files.MODEL
