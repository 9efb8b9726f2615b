"""Rules about tensors that go in and come out: what is given stays as it is, and what is returned is new."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import Case, gradients, output
from ultra_blocks.testing.construction import BLOCK_RULES, FFN_RULES
from ultra_blocks.testing.differences import check_close
from ultra_blocks.testing.dropout import without_dropout
from ultra_core.testing import Finding

ROWS, LENGTH = 3, 21


def _build(case: Case, dtype: torch.dtype = torch.float64) -> nn.Module:
    return case.build(dtype, **without_dropout(case))


def _tokens(case: Case, dtype: torch.dtype = torch.float64, seed: int = 61) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(ROWS, LENGTH, case.hidden_size, generator=g, dtype=torch.float64).to(dtype)


def _layouts(case: Case) -> dict[str, Layout | None]:
    """Return layouts by a name for messages."""
    mask = torch.ones(ROWS, LENGTH, dtype=torch.bool)
    mask[0, -4:] = mask[1, :5] = False
    documents = (torch.arange(LENGTH) >= 10).long().expand(ROWS, -1)
    layouts = {"no layout": None, "padding": Layout.from_mask(mask)}
    return {**layouts, "packed": Layout.from_mask(mask, documents)} if case.packs else layouts


def leaves_inputs_alone(case: Case) -> None:
    """Forward and backward passes change neither the input, the layout, the weights nor results before them.

    The output has memory of its own: a later call does not overwrite it, and writing to it changes no input,
    parameter or buffer. This holds in fp64, fp32 and bf16, in evaluation and in training.

    Fix: no operation with a trailing underscore, ``out=`` or ``+=`` on what was given or on a view of it.
    ``x.float()`` and ``x.to(dtype)`` return ``x`` itself where the dtype is the same; ``clone()`` it.
    """
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        module = _build(case, dtype)
        for name, layout in _layouts(case).items():
            for mode in ("evaluation", "training"):
                module.train(mode == "training")
                _check_untouched(module, _tokens(case, dtype), layout, f"{mode} with {name} in {dtype}")


def _check_untouched(module: nn.Module, x: Tensor, layout: Layout | None, note: str) -> None:
    given = {"the input": x}
    if layout is not None:
        given |= {f"layout.{name}": getattr(layout, name) for name in ("mask", "documents", "positions")}
    given |= {f"the parameter or buffer {name}": tensor for name, tensor in module.state_dict().items()}
    before = {name: tensor.detach().clone() for name, tensor in given.items()}
    with torch.no_grad():
        y = output(module, x, layout)
        first = y.clone()
        output(module, torch.flip(x, (1,)), layout)
    leaf = x.clone().requires_grad_()
    answer = output(module, leaf, layout)
    weight = torch.ones_like(answer)
    gradients(answer, weight, [leaf, *module.parameters()])
    for name, tensor in {**given, "the gradient of the output": weight}.items():
        if not torch.equal(tensor, before.get(name, torch.ones_like(weight))):
            raise Finding(f"{name} is changed; {note}")
    if not torch.equal(y, first):
        raise Finding(f"a later call changes the output of an earlier one; {note}")
    for name, tensor in given.items():
        if tensor.untyped_storage().data_ptr() == y.untyped_storage().data_ptr():
            raise Finding(f"the output shares memory with {name}; {note}", fix="return a copy: `y.clone()`")


def takes_any_input(case: Case) -> None:
    """Memory order, expanded rows and the grad mode of the input change no output.

    Transposed, sliced and expanded inputs, inputs with and without gradients, frozen parameters, ``no_grad``
    and ``inference_mode`` give what a plain input gives.

    Fix: use ``reshape`` or ``flatten`` where ``view`` needs contiguous memory, and ``as_strided`` nowhere.
    """
    module, x = _build(case), _tokens(case)
    for name, layout in _layouts(case).items():
        wanted = output(module, x, layout).detach()
        wider = torch.cat([x, x + 1], -1).repeat_interleave(2, 1)
        forms = {
            "an input of another memory order": x.transpose(0, 1).contiguous().transpose(0, 1),
            "features in reverse memory order": x.transpose(1, 2).contiguous().transpose(1, 2),
            "a slice of a larger tensor": wider[:, ::2, : x.shape[-1]],
            "an input with gradients": x.clone().requires_grad_(),
        }
        for form, tensor in forms.items():
            check_close(
                output(module, tensor, layout),
                wanted,
                case.allows(1e-11),
                other="plain",
                note=f"{form}, {name}",
            )
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                y = output(module, x, layout).clone()
            check_close(y, wanted, case.allows(1e-11), other="plain", note=f"{mode.__name__}, {name}")
        frozen = copy.deepcopy(module).requires_grad_(False)
        leaves = [x.clone().requires_grad_() for _ in range(2)]
        found = [output(m, leaf, layout) for m, leaf in zip((frozen, module), leaves, strict=True)]
        check_close(found[0], wanted, case.allows(1e-11), other="plain", note=f"frozen parameters, {name}")
        both = [gradients(y, torch.ones_like(y), [leaf])[0] for y, leaf in zip(found, leaves, strict=True)]
        note = f"frozen parameters, {name}"
        check_close(
            both[0], both[1], case.allows(1e-11), what="gradient of the input", other="plain", note=note
        )
    row = x[:1].expand(ROWS, -1, -1)
    wanted = output(module, x[:1], None).expand(ROWS, -1, -1)
    check_close(
        output(module, row, None), wanted, case.allows(1e-11), other="of one row", note="an expanded row"
    )


def copies_are_whole(case: Case) -> None:
    """Copies by ``copy.deepcopy`` and ``pickle`` compute the same, also after training, and are independent.

    Modules with parametrizations of torch (``weight_norm``) are not pickled, since torch refuses to.

    Fix: keep no results of a forward pass, closures or hooks over ``self`` in the module; tensors with a
    graph cannot be copied, and a closure goes on using the weights of the original.
    """
    module, x = _build(case), _tokens(case)
    y = output(module.train(), x.requires_grad_(), None)
    gradients(y, torch.ones_like(y), [x, *module.parameters()])
    wanted = output(module.eval(), x, None).detach()
    ways: dict[str, Callable[[nn.Module], nn.Module]] = {"copy.deepcopy": copy.deepcopy}
    local = "<locals>" in case.cls.__qualname__  # classes inside of functions cannot be pickled
    if not (local or any(map(is_parametrized, module.modules()))):
        ways["pickle"] = lambda module: pickle.loads(pickle.dumps(module))
    for way, make in ways.items():
        try:
            other = make(module)
        except Exception as error:
            raise Finding(f"{way} after a training step raises {type(error).__name__}: {error}") from error
        check_close(
            output(other, x, None), wanted, 0.0, what=f"output of the copy by {way}", other="original"
        )
        fresh = case.build(seed=3, **without_dropout(case))
        other.load_state_dict(fresh.state_dict())
        note = f"a copy by {way} with other weights"
        check_close(output(other, x, None), output(fresh, x, None), 0.0, other="in a new module", note=note)
        check_close(
            output(module, x, None), wanted, 0.0, what="output of the original", other="before", note=note
        )


for rules, ids in ((BLOCK_RULES, ("B27", "B27b", "B27c")), (FFN_RULES, ("F14", "F14b", "F14c"))):
    rules(ids[0])(leaves_inputs_alone)
    rules(ids[1])(takes_any_input)
    rules(ids[2])(copies_are_whole)
