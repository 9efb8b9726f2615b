"""Every optimizer: time of a step, state, and its peers; or how well it trains.

    python benchmarks/optimizers.py                  # speed and memory
    python benchmarks/optimizers.py --quality        # convergence tables and the plots of docs/optimizers

A step over the parameters of a 6-layer, 384-wide encoder with 16,000 pieces, gradients given. The sides of
a name take turns with torch's fused AdamW in the same run; medians. "By bytes" compares with the time that
fused AdamW takes for as many bytes of parameters, gradients and state as the method must move.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import harness
import torch
from optimizer_peers import PEERS, TORCH, compile_peers
from torch import Tensor, nn
from torch.optim import Optimizer

import ultra_optim
from ultra_blocks.encoder import Encoder, UltraConfig
from ultra_core import optimizers
from ultra_optim.traits import MATRIX_KINDS, traits_of

ADAMW_NUMBERS = 7
"""Numbers an element that AdamW moves: parameter, two moments in and out, gradient in."""


def encoder() -> nn.Module:
    """Return the encoder whose parameters are moved."""
    config = UltraConfig(
        vocab_size=16_000, hidden_size=384, num_layers=6, num_heads=6, ffn_hidden_size=1536, use_moe=False,
        layer_pattern=("standard_attn",), use_hope=False,
    )  # fmt: skip
    return Encoder(config)


def with_gradients(model: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    model = model.to(device, dtype)
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.grad = 1e-3 * torch.randn(p.shape, generator=generator).to(device, dtype)
    return model


def kinds(model: nn.Module) -> dict[str, list[Tensor]]:
    """Sort parameters into hidden matrices and others, for peers that cannot."""
    found: dict[str, list[Tensor]] = {"matrix": [], "other": []}
    information = ultra_optim.describe(model)
    for name, p in model.named_parameters():
        found["matrix" if information[name].kind in MATRIX_KINDS else "other"].append(p)
    return found


def stepper(optimizer: Optimizer, device: str) -> Callable[[], float]:
    """Return a function that takes a step and returns its seconds."""
    held = [(p, p.grad) for group in optimizer.param_groups for p in group["params"]]

    def sampled() -> float:
        for p, grad in held:
            p.grad = grad
        return 1.0

    def take() -> float:
        start = time.perf_counter()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        if getattr(optimizer, "curvature_due", False):
            optimizer.curvature_step(sampled)
            sampled()
        return seconds

    return take


def state_bytes(optimizer: Optimizer) -> int:
    tensors = [v for s in optimizer.state.values() for v in s.values() if isinstance(v, Tensor)]
    return sum(t.numel() * t.element_size() for t in tensors)


def ours(name: str, model: nn.Module, **options: object) -> Optimizer:
    return ultra_optim.build(name, model, lr=1e-4, total_steps=1000, **options)


def measure(
    name: str, rounds: int, device: str, dtype: torch.dtype, compiled: bool
) -> tuple[Mapping[str, float], int, int]:
    """Return median seconds by side, and bytes of our state and number of parameters."""
    models = {"adamw": with_gradients(encoder(), device, dtype)}
    sides = {"adamw": TORCH["adamw"](kinds(models["adamw"]))}
    models["ultra"] = with_gradients(encoder(), device, dtype)
    sides["ultra"] = ours(name, models["ultra"])
    if compiled:
        models["compiled"] = with_gradients(encoder(), device, dtype)
        sides["compiled"] = ours(name, models["compiled"], compile=True)
    for peer, classes in PEERS.items():
        if name in classes:
            models[peer] = with_gradients(encoder(), device, dtype)
            sides[peer] = classes[name](kinds(models[peer]))
    steppers = {side: stepper(optimizer, device) for side, optimizer in sides.items()}
    for step in steppers.values():  # compilation, first allocation, idle first steps
        for _ in range(3):
            step()
    figures = harness.interleave(steppers, rounds)
    size = sum(p.numel() for p in models["ultra"].parameters())
    return {s: harness.median(f) for s, f in figures.items()}, state_bytes(sides["ultra"]), size


def row(name: str, seconds: Mapping[str, float], state: int, size: int, compiled: bool) -> list[str]:
    """Return the row of an optimizer."""
    traits = traits_of(optimizers.get(name))
    cells = [name, f"{1e3 * seconds['ultra']:.1f}", f"{state / size:.2f}"]
    by_bytes = (3 + 2 * state / size / 4) / ADAMW_NUMBERS * seconds["adamw"]
    cells.append("" if traits.matrix else f"{seconds['ultra'] / by_bytes:.2f}")
    if compiled:
        cells.append(f"{seconds['compiled'] / by_bytes:.2f}" if not traits.matrix else "")
    cells += [f"{seconds[p] / seconds['ultra']:.2f}" if p in seconds else "" for p in PEERS]
    peers = [seconds[p] for p in ("pytorch_optimizer", "heavyball") if p in seconds]
    cells.append(f"{min(peers) / seconds['ultra']:.2f}" if peers else "")
    return cells


def speed(names: Sequence[str], rounds: int, device: str, dtype: torch.dtype, compiled: bool) -> None:
    """Print the table of speed and memory."""
    rows = []
    for name in names:
        rows.append(row(name, *measure(name, rounds, device, dtype, compiled), compiled))
        gc.collect()
    header = ["optimizer", "ms a step", "state bytes", "x fused AdamW by bytes"]
    header += ["compiled"] if compiled else []
    header += [*(f"{peer} / ultra" for peer in PEERS), "fastest peer / ultra"]
    print(harness.table(header, rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="NAMES", help="these optimizers, by commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true", help="add our compiled updates to the table")
    parser.add_argument("--quality", action="store_true", help="convergence instead of speed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    known = optimizers.names()
    names = [name for name in options.only.split(",") if name] or list(known)
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no such optimizer: {', '.join(unknown)}; there are {', '.join(known)}")
    if options.quality:
        import optimizer_quality

        optimizer_quality.main(names)
        return
    if options.device == "cpu":
        rate = harness.matmul_rate() / 1e9
        print(f"{options.threads} threads, matmul {rate:.1f} G multiply-adds/s\n")
    compile_peers(options.compile)
    dtype = torch.float32 if options.dtype == "fp32" else torch.bfloat16
    speed(names, options.rounds, options.device, dtype, options.compile)


if __name__ == "__main__":
    main()
