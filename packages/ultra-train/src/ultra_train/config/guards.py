"""Keys of ``training`` about the guards against non-finite numbers and heat."""

from __future__ import annotations

import attrs

from ultra_train.config.keys import Celsius, Count, Natural, Positive, key


@attrs.frozen(kw_only=True, slots=False)
class GuardKeys:
    """When a run drops an update, pauses, rolls back, or stops."""

    inf_post_clip_threshold: Positive | None = key(
        None,
        "gradient norm before clipping above which an update is dropped; by the task when left out: "
        "100, but no limit for embeddings",
    )
    max_nan_retries: Natural = key(
        3, "updates dropped in a row before the run rolls back to its last checkpoint"
    )
    nan_check_interval: Count = key(10, "updates between scans of all weights")
    gpu_temp_guard_enabled: bool = key(True, "pause while the GPU is too hot")
    gpu_temp_pause_threshold_c: Celsius = key(90.0, "pause at this temperature (C)")
    gpu_temp_resume_threshold_c: Celsius = key(80.0, "resume below this temperature (C)")
    gpu_temp_critical_threshold_c: Celsius | None = key(
        None, "save a checkpoint and stop at this temperature (C)"
    )
    gpu_temp_poll_interval_seconds: Positive = key(30.0, "seconds between readings")
    switch_on_thermal: bool = key(
        False, "continue on the coolest other GPU instead of pausing; for one process with several GPUs"
    )
