"""The rules of the work of a task: presets that name it, its runs, and resuming them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs

from ultra_core.errors import UltraError
from ultra_core.testing import Finding
from ultra_train.config import Preset, load_preset
from ultra_train.testing.cases import TaskCase
from ultra_train.testing.tasks import TASK_RULES, task_of

PRESET = """\
model_class: frankenstein
model:
  hidden_size: 16
  num_layers: 1
  num_heads: 2
  ffn_hidden_size: 32
  layer_pattern: [standard_attn]
  norm_type: layer_norm
  use_hope: false
  use_moe: false
tokenizer:
  train: {{vocab_size: 300}}
training:
  task: {task}
  dataset: {texts}
  cache_dir: {folder}/cache
  batch_size: 4
  max_steps: 4
  gradient_accumulation_steps: 1
  num_workers: 0
  dataloader_workers: 0
  eval_fraction: 0.1
  eval_every_n_steps: 2
  checkpoint_every_n_steps: 2
  telemetry_log_interval: 1
  scheduler_type: constant
  report_to: []
  optimizer: {{optimizer_class: adamw, parameters: {{adamw-lr: 1.0e-3}}}}
"""
"""A preset for tasks that read plain texts and need no keys of their own."""


def _obstacle(case: TaskCase) -> str:
    """Return why the preset does not fit a task; empty if it does."""
    task = task_of(case)
    if task.form is not None:
        return "its presets have a form of their own"
    if not task.reads_dataset:
        return "it reads other data than plain texts"
    if task.own_optimizer is not None:
        return "it has an optimizer section of its own"
    required = (
        [f.name for f in attrs.fields(task.options) if f.default is attrs.NOTHING] if task.options else []
    )
    if required:
        return f"it needs the key {required[0]}"
    return ""


@contextlib.contextmanager
def _preset(case: TaskCase, *overrides: str) -> Iterator[Preset]:
    """Yield a preset that names a task, in a folder that is removed afterwards."""
    with TemporaryDirectory() as folder:
        yield _load(case, Path(folder), overrides)


def _load(case: TaskCase, folder: Path, overrides: Sequence[str] = ()) -> Preset:
    texts = folder / "texts.txt"
    texts.write_bytes(files("ultra_train").joinpath("plugin_templates/shared/texts.txt").read_bytes())
    file = folder / "preset.yaml"
    task = f"{case.entry.distribution}:{case.name}" if case.entry.distribution else case.name
    file.write_text(PRESET.format(task=task, texts=texts, folder=folder), encoding="utf-8")
    return load_preset(file, overrides)


@TASK_RULES("T7", least="quick", after=("T2", "T3"), unless=_obstacle)
def is_valid_by_default(case: TaskCase) -> None:
    """A preset that names it and sets none of its keys loads without faults.

    ``rules``, ``missing`` and ``idle_keys`` yield pairs of a key path and a message, and keys.

    Fix: end methods that find nothing with ``yield from ()``; let the defaults of the keys go together.
    """
    try:
        with _preset(case):
            pass
    except Exception as error:
        problem = str(error) if isinstance(error, UltraError) else f"{type(error).__name__}: {error}"
        raise Finding(problem) from error


@TASK_RULES("T8", after=("T7",), unless=_obstacle)
def starts(case: TaskCase) -> None:
    """``start(preset, folder, device=, say=)`` returns a ``TaskRun``; its trainer has ``UltraTrainerMixin``.

    Fix: ``return MyRun(self, preset, folder, **options)``; ``class MyTrainer(UltraTrainerMixin, Trainer)``.
    """
    import torch
    from transformers import Trainer

    from ultra_train.tasks.base import TaskRun
    from ultra_train.trainer.mixin import UltraTrainerMixin

    with _preset(case) as preset, TemporaryDirectory() as folder:
        try:
            run = task_of(case).start(preset, Path(folder), device=torch.device("cpu"), say=lambda _: None)
        except Exception as error:
            raise Finding(f"start() raises {type(error).__name__}: {error}") from error
    if not isinstance(run, TaskRun):
        raise Finding(f"start() returns a {type(run).__name__}, no TaskRun")
    order = list(getattr(run, "trainer_class", object).__mro__)
    if UltraTrainerMixin not in order or Trainer not in order:
        raise Finding(f"its trainer_class is {order[0].__name__}, without UltraTrainerMixin or Trainer")
    if order.index(UltraTrainerMixin) > order.index(Trainer):
        raise Finding(f"in {order[0].__name__} the mixin comes after the trainer, whose methods hide its own")


@TASK_RULES("T9", after=("T7", "T8"), unless=_obstacle)
def trains_and_resumes(case: TaskCase) -> None:
    """Four updates train, evaluate and save; two, and two more after resuming, give the same numbers.

    Fix: draw from ``(seed, epoch, index)`` and not from a generator with a state; yield the same evaluation
    batches every time; let ``facts`` depend on the data alone.
    """
    with TemporaryDirectory() as folder:
        whole = _numbers(case, Path(folder), "whole", 4)
        _numbers(case, Path(folder), "parts", 2)
        parts = _numbers(case, Path(folder), "parts", 4, resume=True)
    if not any("loss" in line for line in whole.values()):
        raise Finding(f"no loss is logged, only {sorted({name for line in whole.values() for name in line})}")
    for step in (3, 4):
        for name, value in whole.get(step, {}).items():
            other = parts.get(step, {}).get(name)
            if other is None or abs(other - value) > 1e-6 * max(1.0, abs(value)):
                raise Finding(
                    f"{name} of step {step} is {value:.6g} in one go and {other} after resuming at 2"
                )


def _numbers(
    case: TaskCase, folder: Path, name: str, steps: int, **options: Any
) -> dict[int, dict[str, float]]:
    """Train up to a number of updates and return losses and metrics of the evaluation by step."""
    from ultra_train.run.execution import execute

    preset = _load(case, folder, (f"training.max_steps={steps}",))
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            path = execute(preset, name=name, output_dir=folder, device="cpu", **options)
    except Exception as error:
        when = "resuming" if options else "training"
        raise Finding(f"{when} for {steps} updates raises {type(error).__name__}: {error}") from error
    found: dict[int, dict[str, float]] = {}
    for line in map(json.loads, (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()):
        numbers = {
            key: value
            for key, value in line.items()
            if key == "loss" or (key.startswith("eval_") and not key.endswith(("_second", "_runtime")))
        }
        found.setdefault(line["step"], {}).update(
            {key: value for key, value in numbers.items() if isinstance(value, float)}
        )
    return found
