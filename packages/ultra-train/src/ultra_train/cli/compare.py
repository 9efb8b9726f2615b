"""``ultra-train compare``: several runs on equal terms."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.argument("presets", nargs=-1, metavar="PRESET...")
@click.option("--guide", help="All presets of this guide, such as optimizer_benchmark.")
@click.option(
    "--vary",
    "varied",
    multiple=True,
    metavar="KEY=VALUE,VALUE",
    help="Vary a key: training.optimizer.optimizer_class=adamw,lion. Several make all combinations.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of all arms: training.batch_size=8.",
)
@click.option(
    "--seeds", metavar="N|LIST", help="A number of seeds (3), or seeds (1,2,3) [that of the presets]."
)
@click.option("--lr", metavar="LIST", help="Learning rates that each arm is tried at: 1e-4,3e-4,1e-3.")
@click.option("--lr-factors", metavar="LIST", help="The same as factors of each arm's own rates: 0.3,1,3.")
@click.option("--steps", type=int, help="Updates of every run [those of the presets].")
@click.option("--tokens", type=int, help="Tokens of every run.")
@click.option("--minutes", type=float, help="Minutes of training of every run.")
@click.option(
    "--twin/--no-twin",
    default=None,
    help="Train tiny twins of the presets on embedded data, without the hub [yes with --guide].",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder [compare/NAME].")
@click.option("--device", help="cpu, cuda, cuda:1 or mps [the best one of this machine].")
@click.option("--resume", is_flag=True, help="Require that the comparison has begun; it is continued anyway.")
@click.option("--retry", is_flag=True, help="Try runs again that have failed.")
def compare(
    presets: tuple[str, ...],
    guide: str | None,
    varied: tuple[str, ...],
    settings: tuple[str, ...],
    seeds: str | None,
    lr: str | None,
    lr_factors: str | None,
    steps: int | None,
    tokens: int | None,
    minutes: float | None,
    twin: bool | None,
    output: Path | None,
    device: str | None,
    resume: bool,
    retry: bool,
) -> Path:
    """Train every PRESET, with every varied value and seed, on equal terms, and compare the results.

    All runs have the same budget, and those of one seed the same order of data, masks, held-out texts and,
    for equal models, initial weights. A table is printed; compare/NAME gets a page (comparison.html), CSV
    files and the runs. The same command continues a comparison that was stopped or killed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see ultra_train.cli.run
    from ultra_core.errors import UltraError
    from ultra_train.compare.budget import budget
    from ultra_train.compare.execution import Request
    from ultra_train.compare.execution import compare as execute
    from ultra_train.compare.learning_rates import Sweep
    from ultra_train.compare.trials import own_command
    from ultra_train.compare.values import Axis, positive_numbers
    from ultra_train.compare.values import seeds as read_seeds

    if lr is not None and lr_factors is not None:
        raise UltraError("--lr and --lr-factors are two sweeps of the learning rate; use one of them")
    numbers = next((t for t in ((lr, "--lr"), (lr_factors, "--lr-factors")) if t[0] is not None), None)
    return execute(
        Request(
            presets=chosen(presets, guide),
            axes=[Axis.parse(argument) for argument in varied],
            settings=settings,
            budget=budget(steps=steps, tokens=tokens, minutes=minutes),
            sweep=Sweep(positive_numbers(numbers[1], numbers[0] or ""), lr is not None)
            if numbers
            else Sweep(),
            seeds=read_seeds(seeds) if seeds is not None else None,
            folder=output,
            name=guide or "",
            device=device,
            twin=twin if twin is not None else guide is not None,
            resume=resume,
            retry=retry,
            command=own_command(),
        )
    )


def chosen(presets: tuple[str, ...], guide: str | None) -> list[str]:
    """Return the presets to compare: those named, and those of a guide.

    Raises:
        UltraError: there are none, or no installed preset is in the guide.
    """
    from ultra_core.errors import UltraError
    from ultra_train.cli.listing import presets_in

    of_guide = [entry.name for entry in presets_in([guide])] if guide is not None else []
    found = [*presets, *(name for name in of_guide if name not in presets)]
    if not found:
        raise UltraError("name the presets to compare, or give --guide optimizer_benchmark")
    return found
