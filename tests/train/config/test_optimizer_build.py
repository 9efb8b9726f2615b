"""Options of an optimizer that are right one by one and wrong together."""

import inspect
import sys

import pytest
import torch

from ultra_core import optimizers

PLACE = "training.optimizer.parameters"


def optimizer(name, **parameters):
    options = ", ".join(f"{name}-{key}: {value}" for key, value in parameters.items())
    return [
        f"training.optimizer={{optimizer_class: {name}, parameters: {{{options}}}}}",
        "training.scheduler_type=constant",
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (optimizer("adan", decay_rule="cautious"), "decoupled decay: set no_prox=True"),
        (optimizer("mars_adamw", lr="0.0", lr_1d="1.0e-3"), "lr must not be 0"),
    ],
)
def test_options_that_do_not_go_together(minimal, base, problems, overrides, message):
    for preset in (minimal, base):
        (fault,) = problems(preset, *overrides)
        assert fault.key == PLACE
        assert message in fault.message


def test_options_that_do(minimal, base, problems):
    for preset in (minimal, base):
        assert problems(preset, *optimizer("adan", decay_rule="cautious", no_prox="true")) == []
        assert problems(preset, *optimizer("ademamix")) == []  # is told how long the run is


def test_it_is_not_tried_on_a_preset_with_other_faults(minimal, problems):
    faults = problems(minimal, *optimizer("adan", decay_rule="cautious"), "model.num_heads=5")
    assert [fault.key for fault in faults] == ["model.num_heads"]


class Picky(torch.optim.SGD):
    """Refuses a model without a mamba, and any rate of embeddings."""

    def __init__(self, params: list, *, lr: float = 0.1, crash: bool = False) -> None:
        if crash:
            raise KeyError("state")
        if "mamba" not in {group["role"] for group in params}:
            raise ValueError("Picky: no mamba")
        super().__init__(params, lr=lr)


def test_it_sees_the_model_and_draws_nothing(minimal, problems, monkeypatch):
    monkeypatch.setattr(optimizers, "_added", [])
    optimizers.add("picky", Picky, source="a-plugin")
    before = torch.get_rng_state()
    (fault,) = problems(minimal, *optimizer("picky"))
    assert (fault.key, fault.message) == (PLACE, "Picky: no mamba")
    mamba = ["model.layer_pattern=[standard_attn, mamba]", "model.retention_heads=4"]
    assert problems(minimal, *optimizer("picky"), *mamba) == []
    (fault,) = problems(minimal, *optimizer("picky", crash="true"), *mamba)
    assert "the optimizer 'picky' of a-plugin" in fault.message
    assert "cannot be built: KeyError: 'state'" in fault.message
    assert torch.equal(torch.get_rng_state(), before)


def test_a_preset_is_checked_without_the_compiler_of_torch(minimal, load, monkeypatch):
    """Importing ``torch._dynamo`` takes a second; torch does so when a group is added to its optimizers."""
    added = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    monkeypatch.delattr(added, "__dynamo_disable", raising=False)  # what its first call remembers
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    load(minimal)
    with pytest.raises(ImportError):
        torch.optim.SGD([torch.zeros(1)])
