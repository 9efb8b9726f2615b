"""Cost of every single block: time and memory of forward and backward, growth with the length, and peers.

    python benchmarks/blocks.py                        # speed and memory
    python benchmarks/blocks.py --table                # quality: each block as an encoder, trained
    python benchmarks/blocks.py --device cuda --dtype bf16

Batch x T is constant, rows are padded on the right, dropout is off, all sides take turns in the same run,
and figures are medians. Blocks are bidirectional; peers that can only read one direction count as one
direction, without the projections that our two directions share.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported
os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # of the profiler, which counts memory
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import attrs
import block_peers as peers
import block_quality
import harness
import torch
from block_claims import build, claims, growth_claims
from work import Setting, Work, of_block, without_fla

from ultra_core import blocks

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
QUADRATIC = "standard_attn"


def growth(
    setting: Setting, names: list[str], lengths: tuple[int, ...], rounds: int
) -> dict[tuple[str, int], float]:
    """Print the cost of each block at each length, and where it becomes faster than softmax attention.

    Returns:
        The milliseconds of each block at each length.
    """
    sides = {name: (module, of_block(module)) for name in names for module in [build(setting, name)]}
    sides |= peers.sdpa_layers(setting)
    works = {
        (name, length): Work(setting, module, length, call)
        for name, (module, call) in sides.items()
        for length in lengths
    }
    figures = harness.interleave(works, rounds)
    ms = {key: 1e3 * harness.median(values) for key, values in figures.items()}
    rows = []
    for name in sides:
        times = [ms[name, length] for length in lengths]
        peaks = [works[name, length].peak() / 2**20 for length in (lengths[0], lengths[-1])]
        rows.append(
            [name, *(f"{time:,.0f}" for time in times), f"{times[-1] / times[0]:.2f}",
             *(f"{peak:,.0f}" for peak in peaks), wins_from(name, lengths, ms),
             f"{sum(p.numel() for p in works[name, lengths[0]].module.parameters()):,}"]
        )  # fmt: skip
    header = [
        "block", *(f"ms, T = {length}" for length in lengths), "growth", f"MiB, T = {lengths[0]}",
        f"MiB, T = {lengths[-1]}", "beats attention from T", "parameters",
    ]  # fmt: skip
    print(harness.table(header, rows))
    return ms


def wins_from(name: str, lengths: tuple[int, ...], ms: Mapping[tuple[str, int], float]) -> str:
    """Return the first length at which a linear block beats softmax attention; "> T" if none does."""
    linear = name in blocks.names() and blocks.get(name).traits.linear_time
    if not linear or (QUADRATIC, lengths[0]) not in ms:
        return ""
    wins = (f"{t:,}" for t in lengths if ms[name, t] < ms[QUADRATIC, t])
    return next(wins, f"> {max(lengths):,}")


def compare(setting: Setting, names: list[str], rounds: int, times: Mapping[tuple[str, int], float]) -> None:
    """Print every claim with its measurement; ``times`` are those of the blocks at each length."""
    found = list(claims(setting, names))
    works = {work: work for claim in found for work in claim.works}
    figures = harness.interleave(works, rounds)
    ratios = growth_claims(times)
    for claim in found:
        ratios.append((claim, claim.ratio(*(harness.median(figures[work]) for work in claim.works))))
    rows = [
        [claim.text, f"{ratio:.2f}", claim.bound, "yes" if claim.holds(ratio) else "NO"]
        for claim, ratio in ratios
    ]
    if rows:
        print(harness.table(["claim", "measured", "target", "held"], rows))


def against_fla(setting: Setting, names: list[str], length: int, rounds: int) -> None:
    """Print our two directions, without and with kernels, and the causal layers of the package, on a GPU."""
    layers = peers.fla_layers(setting)
    works = {}
    for name in (name for name in peers.KERNELS if name in names and peers.has_fla(setting)):
        ours = build(setting, name)
        works["torch", name] = Work(setting, ours, length, without_fla(of_block(ours)))
        works["kernels", name] = Work(setting, ours, length, of_block(ours))
        if name in layers:
            works["fla", name] = Work(setting, layers[name], length, peers.of_fla(layers[name]))
    if not works:
        return
    ms = {key: 1e3 * harness.median(values) for key, values in harness.interleave(works, rounds).items()}
    rows = []
    for name in (name for side, name in works if side == "torch"):
        plain, fast, theirs = (ms.get((side, name)) for side in ("torch", "kernels", "fla"))
        works["kernels", name].x = works["torch", name].x
        found, wanted = (works[side, name].output() for side in ("kernels", "torch"))
        rows.append(
            [name, f"{plain:.2f}", f"{fast:.2f}", f"{plain / fast:.2f}",
             f"{(found - wanted).norm() / wanted.norm():.0e}",
             f"{theirs:.2f}" if theirs else "", f"{2 * theirs / fast:.2f}" if theirs else ""]
        )  # fmt: skip
    header = [
        "block", "ms, torch path", "ms, fla kernels", "torch / kernels", "difference",
        "ms, layer of fla", "layer of fla / kernels, a direction",
    ]  # fmt: skip
    print("\n" + harness.table(header, rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="", metavar="NAMES", help="only these blocks (and moe), separated by commas"
    )
    parser.add_argument("--tokens", type=int, default=4096, help="number of positions in a batch")
    parser.add_argument("--lengths", default="512,1024,2048,4096", help="row lengths, separated by commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="fp32", choices=sorted(DTYPES))
    parser.add_argument("--table", action="store_true", help="train an encoder of each block instead")
    parser.add_argument("--steps", type=int, default=300, help="number of updates of each encoder of --table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    known = blocks.names()
    names = [name for name in options.only.split(",") if name] or [*known, "moe"]
    if unknown := sorted(set(names) - {*known, "moe"}):
        parser.error(f"no such block: {', '.join(unknown)}; there are {', '.join(known)}, moe")
    lengths = tuple(int(length) for length in options.lengths.split(","))
    registered = [name for name in names if name in known]
    if options.table:
        block_quality.main(registered, steps=options.steps)
        return
    setting = Setting(tokens=options.tokens, device=options.device, dtype=DTYPES[options.dtype])
    if options.device == "cpu":
        rate = harness.matmul_rate() / 1e9
        print(f"{options.threads} threads, {options.dtype}, matmul {rate:.1f} G multiply-adds/s; ", end="")
    print(f"{options.tokens} positions, 7/8 of them real, {setting.width} wide, {setting.heads} heads\n")
    times = growth(setting, registered, lengths, options.rounds)
    print()
    compare(attrs.evolve(setting, tokens=4096), names, options.rounds, times)
    against_fla(setting, names, 2048, options.rounds)


if __name__ == "__main__":
    main()
