"""Adafactor against its formula, torch and Hugging Face; blocks, experts, convolutions, small gradients."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import transformers
from torch import Tensor, nn

from ultra_optim.adafactor import Adafactor
from ultra_optim.reference.factored import adafactor
from ultra_optim.testing.subject import drive, error, gradients

SHAPES = ((7,), (4, 9), (9, 4), (5, 5))
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("paper", [False, True])
def test_against_the_formula(follow: Callable[..., float], dtype: torch.dtype, paper: bool) -> None:
    options = {"lr": 0.3, "weight_decay": 0.1, "scale_parameter": paper, "relative_step": paper}
    worst = follow(partial(Adafactor, **options), partial(adafactor, **options), SHAPES, dtype=dtype)
    assert worst < TOLERANCE[dtype]


def test_against_torch(follow: Callable[..., float]) -> None:
    ours = partial(Adafactor, lr=0.3, weight_decay=0.1, scale_parameter=True, relative_step=True)
    theirs = partial(torch.optim.Adafactor, lr=0.3, weight_decay=0.1)
    assert follow(ours, theirs, SHAPES, formula=False) < 1e-10


@pytest.mark.parametrize("scale_parameter", [False, True])
def test_against_hugging_face(follow: Callable[..., float], scale_parameter: bool) -> None:
    options = {"lr": 0.03, "scale_parameter": scale_parameter, "relative_step": False}
    theirs = partial(transformers.Adafactor, **options)
    assert follow(partial(Adafactor, **options), theirs, SHAPES, formula=False) < 1e-7


def moved(group: dict, grads: list[Tensor], **options: object) -> list[Tensor]:
    """How far parameters that start at 0 go in one step of one group."""
    tensors = [nn.Parameter(torch.zeros_like(g)) for g in grads]
    drive(Adafactor([{"params": tensors, **group}], **options), tensors, [grads])
    return [t.detach() for t in tensors]


@pytest.mark.parametrize("size", [1e-4, 1e-6, 1e-9])
def test_the_size_of_the_gradient_does_not_matter(size: float) -> None:
    """eps1 under the root would shrink small updates; torch loses them or blows them up to the limit."""

    def second_step(cls: type[torch.optim.Optimizer], scale: float) -> Tensor:
        p = nn.Parameter(torch.ones(6, 8))
        optimizer = cls([p], lr=1e-2)
        (g,) = gradients([p], 1)[0]
        drive(optimizer, [p], [[g * scale]])
        before = p.detach().clone()
        drive(optimizer, [p], [[g.flip(0) * scale * 0.1]])
        return p.detach() - before

    assert error(second_step(Adafactor, size), second_step(Adafactor, 1.0)) < 1e-4
    theirs = second_step(torch.optim.Adafactor, size), second_step(torch.optim.Adafactor, 1.0)
    assert error(*theirs) > 0.9


def test_row_blocks_and_experts_are_matrices_of_their_own() -> None:
    g = gradients([torch.empty(12, 5)], 1)[0][0] * torch.linspace(0.1, 10, 12)[:, None]
    (fused,) = moved({"kind": "matrix", "row_blocks": [[4, 8]], "expert_dim": [None]}, [g])
    apart = torch.cat([moved({}, [part.clone()])[0] for part in g.split([4, 8])])
    assert error(fused, apart) < 1e-5
    assert error(fused, moved({}, [g])[0]) > 1e-2
    stack = g.reshape(3, 4, 5).movedim(0, 1)
    (experts,) = moved({"kind": "expert", "row_blocks": [[]], "expert_dim": [1]}, [stack])
    apart = torch.stack([moved({}, [one.clone()])[0] for one in stack.unbind(1)], 1)
    assert error(experts, apart) < 1e-5


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_convolution_is_one_matrix(channels_last: bool) -> None:
    g = gradients([torch.empty(6, 4, 3, 3)], 1)[0][0]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    (conv,) = moved({}, [g.contiguous(memory_format=layout)])
    assert error(conv.flatten(1), moved({}, [g.flatten(1)])[0]) < 1e-6
    assert float(conv.abs().max()) > 0


def test_large_matrices_are_taken_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    from ultra_optim.engine import sizes

    g = gradients([torch.empty(2, 30, 7)], 1)[0][0]
    whole = moved({"kind": "expert"}, [g])[0]
    monkeypatch.setattr(sizes, "PIECE", 60)
    assert error(moved({"kind": "expert"}, [g])[0], whole) < 1e-6


def test_state_is_rows_and_columns() -> None:
    p, v = nn.Parameter(torch.ones(30, 20)), nn.Parameter(torch.ones(9))
    optimizer = Adafactor([p, v])
    drive(optimizer, [p, v], [[torch.ones(30, 20), torch.ones(9)]])
    kept = {k: x.numel() for k, x in optimizer.state[p].items() if isinstance(x, Tensor)}
    assert kept == {"row_var": 30, "col_var": 20}
    assert optimizer.state[v]["variance"].numel() == 9


def test_vectors_of_several_dtypes_in_one_group() -> None:
    vectors = [nn.Parameter(torch.ones(4, dtype=d)) for d in (torch.float64, torch.bfloat16, torch.float32)]
    optimizer = Adafactor(vectors, lr=0.5)
    drive(optimizer, vectors, [[torch.ones_like(v) for v in vectors]])
    for v in vectors:
        assert torch.equal(v.detach(), torch.full_like(v, 0.5))
        assert optimizer.state[v]["variance"].dtype == torch.promote_types(v.dtype, torch.float32)
