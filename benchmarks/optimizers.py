"""Speed and memory of every optimizer and its peers, or how well it trains.

    python benchmarks/optimizers.py                  # speed and memory, at both sizes
    python benchmarks/optimizers.py --compile       # with compile=True, and False
    python benchmarks/optimizers.py --quality        # convergence tables and the plots of docs/optimizers
    python benchmarks/optimizers.py --quality --only lion,lamb   # their rows and plots alone

Steps over the parameters of a 6-layer, 384-wide encoder with a vocabulary of 16,000, and for methods that
treat all parameters alike also of BERT-base, with given gradients. The sides of a name take turns in random
order with torch's fused AdamW in the same rounds; the figures are medians. "By bytes" compares with the
time that fused AdamW takes for the same number of bytes of parameters, gradients and state that the method
must move; numbers that it must read twice count twice if the tensor does not stay in the cache. Work that a
method does only every few steps is divided by their number. "Steps" are the timed steps of ours and the
smallest number of a peer: a slow side drops out when its budget is used up. "Compiled" is compile=True,
"eager" is compile=False, the plain form; by default ours is compiled on a CPU with a C compiler. Peers that
treat matrices one by one and are slow on a CPU are timed on the matrices of one layer, times the number of
layers. It is an error if a side changes nothing, or if the state has not the declared size.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import harness
import optimizer_claims
import torch
from optimizer_measures import Plan, Result, batches, measure
from optimizer_memory import formula
from optimizer_peers import PEERS, prepare
from optimizer_sides import SIZES, Load

from ultra_core import optimizers
from ultra_optim.contract.traits import traits_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Printed:
    """A table whose rows are printed one by one."""

    def __init__(self, columns: Sequence[str], first: int = 18) -> None:
        self.widths = [max(first, len(columns[0])), *(max(7, len(c)) for c in columns[1:])]
        self.row(columns)
        self.row(["-" * width for width in self.widths])

    def row(self, cells: Sequence[str]) -> None:
        """Print a row."""
        padded = [cell.ljust(width) for cell, width in zip(cells, self.widths, strict=True)]
        print(f"| {' | '.join(padded)} |", flush=True)


def cell(figure: float | None, digits: int = 2) -> str:
    return "" if figure is None else f"{figure:,.{digits}f}"


def speed(size: str, names: Sequence[str], plan: Plan, load: Load) -> list[Result]:
    """Print the table of a size, each row as soon as it is measured."""
    ours = [
        side
        for side, wanted in (
            ("foreach", load.device != "cpu"),
            ("compiled", plan.compiled),
            ("eager", plan.compiled and load.device == "cpu"),
        )
        if wanted
    ]
    columns = ["optimizer", "ms", "steps", "x AdamW by bytes", *(f"{s} by bytes" for s in ours)]
    columns += ["compile s"] if plan.compiled else []
    columns += [*(f"{peer} / ultra" for peer in PEERS), "fastest / ultra"] if plan.peers else []
    columns += ["bytes/param", "of a matrix", "as declared"]
    print(f"\n## {size}: {load.numbers / 1e6:.1f} M parameters, {load.dtype}, {load.device}\n")
    printed, found = Printed(columns), []
    for batch in batches(names):
        for result in measure(load, batch, plan):
            found.append(result)
            by_bytes = None if traits_of(optimizers.get(result.name)).matrix else result.by_bytes()
            cells = [
                result.name, cell(1e3 * result.seconds["ultra"], 1),
                "/".join(str(n) for n in result.steps if n), cell(by_bytes),
                *(cell(result.by_bytes(s) if s in result.seconds else None) for s in ours),
            ]  # fmt: skip
            cells += [cell(result.compiling, 1)] if plan.compiled else []
            if plan.peers:
                cells += [cell(result.against(p) if p in result.seconds else None) for p in PEERS]
                cells += [cell(result.fastest)]
            declared = "yes" if result.declared else "NO"
            printed.row([*cells, f"{result.state:.2f}", formula(result.name), declared])
    return found


def products(results: Sequence[Result]) -> None:
    """Print the cost of the orthogonalisation, relative to the speed of matrix products on this machine."""
    rows = []
    for result in results:
        if result.products and result.rate:
            done, floor = result.products
            rows.append([
                result.name, f"{floor / 1e9:.1f}", f"{done / 1e9:.1f}", cell(1e3 * done / result.rate, 0),
                cell(1e3 * result.seconds["ultra"], 0), f"{100 * (result.of_the_rate or 0):.0f} %",
                cell(result.against("torch.optim.Muon") if "torch.optim.Muon" in result.seconds else None),
            ])  # fmt: skip
    if rows:
        header = ["optimizer", "G multiply-adds as written", "done", "ms at the matmul rate", "ms of a step",
                  "of the rate", "torch.optim.Muon / ultra"]  # fmt: skip
        print(f"\n## Orthogonalisation\n\n{harness.table(header, rows)}")


def refreshes(results: Sequence[Result]) -> None:
    """Print the fraction of the time of a step that refreshes take, divided by their interval."""
    rows = [
        [r.name, side, cell(1e3 * r.seconds[side], 1), f"{100 * share:.0f} %"]
        for r in results
        for side, share in r.refresh.items()
    ]
    if rows:
        header = ["optimizer", "side", "ms of a step", "of which refresh"]
        print(f"\n## Refreshes\n\n{harness.table(header, rows)}")


def run(names: Sequence[str], size: str | None, plan: Plan, device: str, dtype: torch.dtype) -> None:
    """Print all tables; fail if the state of an optimizer has not the declared size."""
    prepare(device)
    found: list[tuple[str, Result]] = []
    for each in SIZES if size is None else [size]:
        large = each == "bert-base"
        chosen = [n for n in names if not (large and traits_of(optimizers.get(n)).matrix)]
        if chosen:
            load = Load(each, device, dtype)
            here = Plan(plan.rounds, plan.budget, plan.peers and not large, plan.compiled)
            results = speed(each, chosen, here, load)
            products(results)
            refreshes(results)
            found += [(each, result) for result in results]
    print(f"\n## Claims\n\n{optimizer_claims.table(found)}")
    if wrong := sorted({r.name for _, r in found if not r.declared}):
        raise SystemExit(f"the state has not the declared size: {', '.join(wrong)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="NAMES", help="these optimizers, by commas")
    parser.add_argument("--size", choices=list(SIZES), help="size of the parameters; both by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9, help="timed steps of each side")
    parser.add_argument(
        "--budget", type=float, default=12.0, metavar="SECONDS", help="after which a side drops out"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="fp32", choices=sorted(DTYPES))
    parser.add_argument(
        "--compile", action="store_true", help="add ours with compile=True and, on a CPU, False"
    )
    parser.add_argument("--no-peers", action="store_true", help="leave out other libraries")
    parser.add_argument("--quality", action="store_true", help="convergence instead of speed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    known = optimizers.names()
    names = [name for name in options.only.split(",") if name] or list(known)
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no such optimizer: {', '.join(unknown)}; there are {', '.join(known)}")
    if options.quality:
        import optimizer_quality

        optimizer_quality.main(names)
        return
    start = time.perf_counter()
    if options.device == "cpu":
        print(f"{options.threads} threads, matmul {harness.matmul_rate() / 1e9:.1f} G multiply-adds/s")
    plan = Plan(options.rounds, options.budget, not options.no_peers, options.compile)
    run(names, options.size, plan, options.device, DTYPES[options.dtype])
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
