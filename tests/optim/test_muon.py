"""Muon: which matrices, how they are batched, what the AdamW part gets."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ultra_core.contracts import ParamInfo
from ultra_core.errors import UltraError
from ultra_optim import Muon, build
from ultra_optim.engine import sizes
from ultra_optim.families import orthogonal as orthogonal_module
from ultra_optim.testing.subject import Bag, gradients


def moved(group: dict, grads: list[Tensor], **options: object) -> list[Tensor]:
    """The displacement of parameters that start at 0, so that it is not rounded."""
    for p, g in zip(group["params"], grads, strict=True):
        p.detach().zero_()
        p.grad = g
    Muon([group], weight_decay=0.0, **options).step()
    return [p.detach() for p in group["params"]]


def parameter(*shape: int, seed: int = 0) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


def gradient(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_bare_tensors_are_refused() -> None:
    for params in ([parameter(3, 4)], [{"params": [parameter(3, 4)]}]):
        with pytest.raises(
            ValueError, match=r"ultra_optim.param_groups\(model\).*ultra_optim.create\('muon'"
        ):
            Muon(params)
    with pytest.raises(ValueError, match="one of matrix, vector"):
        Muon([{"params": [parameter(3, 4)], "kind": "matrices"}])


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"params": [parameter(7)], "kind": "matrix"}, r"shape \(7,\)"),
        ({"params": [parameter(2, 3, 4, 5)], "kind": "expert"}, "expert_dim"),
        ({"params": [parameter(2, 3, 4)], "kind": "matrix"}, "expert_dim"),
        ({"params": [parameter(6, 4)], "kind": "matrix", "row_blocks": [[4, 4]]}, "6 rows"),
    ],
)
def test_what_is_no_matrix_is_refused(group: dict, message: str) -> None:
    optimizer = Muon([{"params": [parameter(3, 3)], "kind": "matrix"}])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


def test_row_blocks_are_separate_matrices() -> None:
    g = gradient(12, 5)
    (fused,) = moved({"params": [parameter(12, 5)], "kind": "matrix", "row_blocks": [[4, 2, 6]]}, [g])
    parts = list(g.split([4, 2, 6]))
    apart = moved({"params": [parameter(*p.shape) for p in parts], "kind": "matrix"}, parts)
    torch.testing.assert_close(fused, torch.cat(apart), rtol=1e-5, atol=1e-7)
    (whole,) = moved({"params": [parameter(12, 5)], "kind": "matrix"}, [g])
    assert not torch.allclose(fused, whole, atol=1e-5)


@pytest.mark.parametrize("expert_dim", [0, 1, 2])
def test_experts_are_separate_matrices(expert_dim: int) -> None:
    g = gradient(3, 4, 5).movedim(0, expert_dim)
    group = {"params": [parameter(*g.shape)], "kind": "expert", "expert_dim": [expert_dim]}
    (stacked,) = moved(group, [g])
    slices = [s.clone() for s in g.unbind(expert_dim)]
    apart = moved({"params": [parameter(*s.shape) for s in slices], "kind": "matrix"}, slices)
    torch.testing.assert_close(stacked, torch.stack(apart, expert_dim), rtol=1e-5, atol=1e-7)


def test_experts_may_have_row_blocks() -> None:
    g = gradient(3, 4, 5)
    group = {"params": [parameter(3, 4, 5)], "kind": "expert", "row_blocks": [[2, 2]], "expert_dim": [0]}
    (stacked,) = moved(group, [g])
    halves = [half.clone() for expert in g for half in expert.split(2)]
    apart = moved({"params": [parameter(2, 5) for _ in halves], "kind": "matrix"}, halves)
    torch.testing.assert_close(stacked.reshape(6, 2, 5), torch.stack(apart), rtol=1e-5, atol=1e-7)


def test_equal_shapes_share_one_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = orthogonal_module.orthogonalize

    def counted(matrices: Tensor, **options: object) -> Tensor:
        calls.append(tuple(matrices.shape))
        return original(matrices, **options)

    monkeypatch.setattr(orthogonal_module, "orthogonalize", counted)
    shapes = [(4, 6), (6, 4), (4, 6), (4, 4)]
    moved({"params": [parameter(*s) for s in shapes], "kind": "matrix"}, [gradient(*s) for s in shapes])
    assert sorted(calls) == [(1, 4, 4), (3, 4, 6)]


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (32, 32)])
def test_updates_are_orthogonal_and_of_adamws_size(shape: tuple[int, int]) -> None:
    (step,) = moved({"params": [parameter(*shape)], "kind": "matrix"}, [gradient(*shape)], lr=1e-2)
    rms = float(step.square().mean().sqrt()) / 1e-2
    assert 0.2 * 0.7 < rms < 0.2 * 1.3
    spectrum = torch.linalg.svdvals(step) / (1e-2 * 0.2 * max(shape) ** 0.5)
    if shape[0] != shape[1]:  # a square random matrix has singular values near 0
        assert float(spectrum.min()) > 0.65
    assert float(spectrum.max()) < 1.25


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12])
def test_the_size_of_the_gradient_does_not_matter(scale: float) -> None:
    g = gradient(6, 10)
    (plain,) = moved({"params": [parameter(6, 10)], "kind": "matrix"}, [g])
    (scaled,) = moved({"params": [parameter(6, 10)], "kind": "matrix"}, [g * scale])
    torch.testing.assert_close(scaled, plain, rtol=1e-3, atol=1e-6)


def test_embeddings_heads_and_vectors_take_adamw(bert: nn.Module) -> None:
    optimizer = build("muon", bert)
    for p in bert.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    for group in optimizer.param_groups:
        expected = (
            {"momentum_buffer"} if group["kind"] == "matrix" else {"exp_avg", "exp_avg_sq", "adam_step"}
        )
        assert all(optimizer.state[p].keys() == expected for p in group["params"])


def test_rates_of_the_two_parts() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4))
    options = {"lr": 0.02, "adamw_lr": 3e-4, "adjust_lr_fn": "original"}
    rates = {g["kind"]: g["lr"] for g in build("muon", model, **options).param_groups}
    assert rates == {"embedding": 3e-4, "matrix": 0.02, "vector": 3e-4}
    roles = {"embeddings": {"lr": 1e-5}}
    rates = {g["kind"]: g["lr"] for g in build("muon", model, roles=roles, **options).param_groups}
    assert rates["embedding"] == 1e-5
    assert {g["lr"] for g in build("muon", model, lr=0.5).param_groups} == {0.5}


def test_both_parts_follow_a_schedule() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4))
    optimizer = build("muon", model, lr=1.0, roles={"embeddings": {"lr": 0.1}})
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step == 0 else 0.25)
    optimizer.step()
    schedule.step()
    assert {g["kind"]: g["lr"] for g in optimizer.param_groups} == {
        "embedding": pytest.approx(0.025), "matrix": 0.25, "vector": 0.25,
    }  # fmt: skip


def test_another_layout_of_the_matrices_is_refused_on_load() -> None:
    def optimizer(blocks: tuple[int, ...]) -> torch.optim.Optimizer:
        bag = Bag([torch.ones(6, 4)], {"p0": ParamInfo(row_blocks=blocks)})
        return build("muon", bag)

    with pytest.raises(ValueError, match="row_blocks"):
        optimizer((3, 3)).load_state_dict(optimizer((2, 4)).state_dict())


def test_options_are_checked() -> None:
    for options in ({"ns_steps": 0}, {"ns_steps": 2.5}, {"adjust_lr_fn": "rms"}, {"momentum": 1.0}):
        with pytest.raises(UltraError, match=next(iter(options))):
            build("muon", nn.Linear(3, 4), **options)
    with pytest.raises(ValueError, match="ns_coefficients"):
        Muon([{"params": [parameter(3, 4)], "kind": "matrix", "ns_coefficients": (1.0, 2.0)}])


def test_batches_of_scratch_space_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:

    shapes = [(4, 6), (6, 4), (4, 6), (4, 4)]
    grads = gradients([torch.empty(s) for s in shapes], 1)[0]
    whole = moved({"params": [parameter(*s) for s in shapes], "kind": "matrix"}, copy.deepcopy(grads))
    monkeypatch.setattr(sizes, "SCRATCH", 30)
    cut = moved({"params": [parameter(*s) for s in shapes], "kind": "matrix"}, grads)
    for a, b in zip(whole, cut, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
