"""``ultra-train run PRESET``, and ``ultra-train train --config FILE``, which is the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

GUARDS = {
    "gpu_temp_guard": "gpu_temp_guard_enabled",
    "gpu_temp_pause_threshold_c": "gpu_temp_pause_threshold_c",
    "gpu_temp_resume_threshold_c": "gpu_temp_resume_threshold_c",
    "gpu_temp_critical_threshold_c": "gpu_temp_critical_threshold_c",
    "gpu_temp_poll_interval_seconds": "gpu_temp_poll_interval_seconds",
    "switch_on_thermal": "switch_on_thermal",
}
"""Options of the command line -> keys of ``training`` that they set."""


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that ``run`` and ``train`` share."""
    options = [
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key: training.seed=7."
        ),
        click.option("--resume", is_flag=True, help="Resume from the newest intact checkpoint of the run."),
        click.option("--name", help="Name of the run [name of the preset]."),
        click.option("--output-dir", type=click.Path(path_type=Path), help="Folder of runs [runs]."),
        click.option("--device", help="cpu, cuda, cuda:1 or mps [the best one of this machine]."),
        click.option(
            "--fit-memory",
            is_flag=True,
            help="Choose micro-batches that fit, and divide them when memory runs out.",
        ),
        click.option(
            "--allow-shorten", is_flag=True, help="Let --fit-memory shorten max_length to 384, then 256."
        ),
        click.option(
            "--gpu-temp-guard/--no-gpu-temp-guard", default=None, help="Pause while the GPU is too hot."
        ),
        click.option("--gpu-temp-pause-threshold-c", type=float, help="Pause at this temperature (C)."),
        click.option("--gpu-temp-resume-threshold-c", type=float, help="Resume below this temperature (C)."),
        click.option(
            "--gpu-temp-critical-threshold-c",
            type=float,
            help="Save a checkpoint and stop at this temperature (C).",
        ),
        click.option("--gpu-temp-poll-interval-seconds", type=float, help="Seconds between readings."),
        click.option(
            "--switch-on-thermal/--no-switch-on-thermal",
            default=None,
            help="Continue on another GPU instead of pausing.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _start(
    preset: str,
    overrides: tuple[str, ...],
    resume: bool,
    name: str | None,
    output_dir: Path | None,
    device: str | None,
    fit_memory: bool,
    allow_shorten: bool,
    guards: dict[str, Any],
) -> Path:
    # Threads that wait for others sleep instead of spinning: on a machine that does other things too,
    # spinning makes an update several times slower. It is read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from ultra_train.config import load_any
    from ultra_train.pipeline.form import PipelinePreset
    from ultra_train.system.processes import processes

    if allow_shorten and not fit_memory:
        raise click.UsageError("--allow-shorten does nothing without --fit-memory; give both")
    flags = [f"training.{GUARDS[k]}={_yaml(v)}" for k, v in guards.items() if v is not None]
    settings, here = [*overrides, *flags], processes()
    if fit_memory and not resume:  # a run that is resumed keeps the batches that it began with
        from ultra_train.estimate.before_run import fitting_overrides

        say = click.echo if here.main else lambda _: None
        settings += fitting_overrides(
            preset, settings, device=device, here=here, shorten=allow_shorten, say=say
        )
    loaded = load_any(preset, settings, check_files=True)
    if here.main:
        for notice in loaded.notices:
            click.echo(f"notice: {notice}", err=True)
    if isinstance(loaded, PipelinePreset):
        from ultra_train.pipeline.execution import run_pipeline

        return run_pipeline(loaded, resume=resume, name=name, output_dir=output_dir, device=device)
    from ultra_train.run.execution import execute

    return execute(
        loaded, resume=resume, name=name, output_dir=output_dir, device=device, fit_memory=fit_memory
    )


def _yaml(value: bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


@click.command()
@click.argument("preset")
@run_options
def run(
    preset: str,
    overrides: tuple[str, ...],
    resume: bool,
    name: str | None,
    output_dir: Path | None,
    device: str | None,
    fit_memory: bool,
    allow_shorten: bool,
    **guards: Any,
) -> Path:
    """Train from PRESET: the name of an installed preset, or a YAML file.

    The model, metrics and checkpoints are written to runs/NAME.

    Ctrl-C, SIGTERM and SIGHUP save a checkpoint and stop; a second one, a second later or more, stops at
    once. The exit code is 0, 2 after an error, 75 when a GPU reached its critical temperature (a checkpoint
    is saved; start the command again with --resume later), and 128 + n after signal n.
    """
    return _start(preset, overrides, resume, name, output_dir, device, fit_memory, allow_shorten, guards)


@click.command()
@click.option("--config", required=True, metavar="FILE", help="A preset file or name.")
@run_options
def train(
    config: str,
    overrides: tuple[str, ...],
    resume: bool,
    name: str | None,
    output_dir: Path | None,
    device: str | None,
    fit_memory: bool,
    allow_shorten: bool,
    **guards: Any,
) -> Path:
    """Train from a preset; the same as run PRESET."""
    return _start(config, overrides, resume, name, output_dir, device, fit_memory, allow_shorten, guards)
