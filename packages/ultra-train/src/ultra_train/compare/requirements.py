"""What the runs of a comparison need of this machine, checked before the first of them begins."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor

from ultra_core.config import parse_source
from ultra_core.errors import UltraError
from ultra_train.compare.faults import fault_lines
from ultra_train.compare.plan import Plan
from ultra_train.compare.trial import START
from ultra_train.config import from_source, to_yaml
from ultra_train.config.local_files import hub_names
from ultra_train.hf.hub import require_hub
from ultra_train.run.device import check_machine, pick_device
from ultra_train.run.output_paths import check_output_paths
from ultra_train.system.processes import processes


def check_requirements(plan: Plan, device: str | None, say: Callable[[str], None]) -> None:
    """Refuse a comparison in which a run must fail: for its device, its folders, or what the hub has to give.

    Args:
        plan: the plan.
        device: where its runs train.
        say: prints that copies of this machine are used because the hub cannot be reached.

    Raises:
        UltraError: all that this machine lacks for one of the arms, or what the hub does not give.
    """
    of_arms = {trial.arm: trial.preset for trial in plan.trials}
    context = multiprocessing.get_context(START)
    # in another process, since a fork of one that has looked for GPUs cannot use them
    with ProcessPoolExecutor(1, mp_context=context) as other:
        texts = {arm: to_yaml(preset) for arm, preset in of_arms.items()}
        faults = other.submit(machine_faults, texts, device).result()
    if faults:
        raise UltraError("\n".join(fault_lines(faults, len(of_arms))))
    wanted = [name for preset in of_arms.values() for name in hub_names(preset)]
    if wanted and (notice := require_hub(wanted)) is not None:
        say(f"notice: {notice}")


def machine_faults(of_arms: Mapping[str, str], device: str | None) -> dict[str, list[str]]:
    """Return what this machine lacks, each with the names of the arms that need it.

    Args:
        of_arms: the preset of every arm as YAML, by its name.
        device: where they train.
    """
    try:
        where = pick_device(device, processes())
    except UltraError as error:
        return {str(error): list(of_arms)}
    faults: dict[str, list[str]] = {}
    for arm, text in of_arms.items():
        training = from_source(parse_source(text, file=arm), arm).training
        try:
            check_machine(training, where)
            check_output_paths(training)
        except UltraError as error:
            faults.setdefault(str(error), []).append(arm)
    return faults
