"""Rules about the state of an optimizer: resuming, parameter groups, skipped steps, memory."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ultra_core.plugins.signatures import read_options
from ultra_optim.testing.subject import (
    Bag,
    Subject,
    cut_apart,
    displacement,
    drive,
    error,
    gradients,
    seeded_net,
    take_step,
    train,
    treated,
)


def _through_torch(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def _through_safetensors(state: dict[str, Any]) -> dict[str, Any]:
    from safetensors.torch import load, save

    tensors = {
        f"{index}/{key}": value.contiguous()
        for index, entry in state["state"].items()
        for key, value in entry.items()
        if isinstance(value, Tensor)
    }
    plain = {
        "state": [
            [index, {k: v for k, v in entry.items() if not isinstance(v, Tensor)}]
            for index, entry in state["state"].items()
        ],
        "param_groups": state["param_groups"],
    }
    plain, tensors = json.loads(json.dumps(plain)), load(save(tensors))
    found: dict[int, Any] = {index: dict(entry) for index, entry in plain["state"]}
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        found[int(index)][key] = tensor
    return {"state": found, "param_groups": plain["param_groups"]}


def resumes_exactly(subject: Subject) -> None:
    """Five steps, saving, loading and five more steps give the same bits as ten steps, with a schedule.

    The same up to rounding where the traits say so (``exact_resume``).

    Fix: keep all that an update reads in ``self.state[p]`` or in the group. ``load_state_dict`` of torch
    casts floating-point state, except ``step``, to the dtype of the parameter: where that is the only
    difference, declare ``OptimizerTraits(exact_resume=False)``.
    """
    for dtype in (torch.float32, torch.float64):
        for passage in (_through_torch, _through_safetensors):
            whole, halved, resumed = (seeded_net(3, dtype) for _ in range(3))
            options = {"lr": 1e-2, "roles": {"norms": {"lr": 3e-3}}}
            if subject.traits.one_lr:
                options = {"lr": 1e2}  # the distance grows in a few steps
            reference, first, second = (subject.build(m, **options) for m in (whole, halved, resumed))
            _, schedule, later = schedules = [LambdaLR(o, _falling) for o in (reference, first, second)]
            for step in range(10):
                train(whole, reference, 1, start=step)
                schedules[0].step()
            for step in range(5):
                train(halved, first, 1, start=step)
                schedule.step()
            second.load_state_dict(passage(copy.deepcopy(first.state_dict())))
            later.load_state_dict(schedule.state_dict())
            resumed.load_state_dict(halved.state_dict())
            half_way = [p.detach().clone() for p in halved.parameters()]
            for step in range(5, 10):
                train(resumed, second, 1, start=step)
                later.step()
            pairs = zip(whole.named_parameters(), resumed.parameters(), half_way, strict=True)
            for (name, a), b, old in pairs:
                apart = error((b - old).detach(), (a - old).detach())
                same = torch.equal(a, b) if subject.traits.exact_resume else apart < 1e-4
                assert same, f"{name} differs after resuming from the saved state, by {apart:.0e} of its way"
            _same_groups(reference, second)


def _falling(step: int) -> float:
    return 1 - step / 20


def _same_groups(one: Optimizer, other: Optimizer) -> None:
    for a, b in zip(one.state_dict()["param_groups"], other.state_dict()["param_groups"], strict=True):
        plain_a, plain_b = json.loads(json.dumps(a)), json.loads(json.dumps(b))
        assert plain_a == plain_b, f"a group differs after resuming: {plain_a} and {plain_b}"


def ignores_how_groups_are_cut(subject: Subject) -> None:
    """The update of a parameter does not depend on which parameters share its group, bit for bit.

    Fix: compute norms, counts and scales for each parameter, in ``self.state[p]``, not for ``group``.
    """
    start = [torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in ((4, 6), (6, 6), (9, 5))]
    steps = gradients(start, 8)
    together, apart = Bag([t.clone() for t in start]), Bag([t.clone() for t in start])
    joined, cut = subject.build(together, lr=1e-2), cut_apart(subject, apart, lr=1e-2)
    drive(joined, together.tensors(), steps)
    drive(cut, apart.tensors(), steps)
    for a, b in zip(together.tensors(), apart.tensors(), strict=True):
        assert torch.equal(a, b), (
            f"{tuple(a.shape)} ends elsewhere, by {error(b, a):.1e} of its size, in a group of its own"
        )


def ignores_the_order(subject: Subject) -> None:
    """Updates do not depend on the order of the parameters.

    Fix: look up what belongs to a parameter by the parameter, ``self.state[p]``, not by its position.
    """
    start = [
        torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in ((4, 6), (6, 4), (5,), (8, 6))
    ]
    steps = gradients(start, 6)
    forth = displacement(subject, start, steps, lr=1e-2)
    back = displacement(subject, start[::-1], [grads[::-1] for grads in steps], lr=1e-2)[::-1]
    for a, b in zip(forth, back, strict=True):
        apart = error(a, b)
        assert apart < 1e-5, (
            f"{tuple(a.shape)} moves differently by {apart:.1e} in the reverse order of parameters"
        )


def skips_missing_gradients(subject: Subject) -> None:
    """A parameter without a gradient is not changed and gets no state; one whose gradients are 0 stays.

    Where the traits say that state is made in the constructor (``state_at_construction``), it is there from
    the beginning and does not change. Gradients that were always 0, as those of rows of an embedding that do
    not occur, move nothing without weight decay; zero gradients after others give finite values.

    Fix: skip parameters whose ``grad`` is None, and make state in the first step that has a gradient; or in
    the constructor, and declare ``OptimizerTraits(state_at_construction=True)``.
    """
    start = [torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in ((4, 6), (6, 4), (5,))]
    bag = Bag([t.clone() for t in start])
    optimizer = subject.build(bag, lr=1e-2)
    used, unused = bag.tensors()[1:], bag.tensors()[0]
    before = copy.deepcopy(dict(optimizer.state.get(unused, {})))
    if subject.traits.state_at_construction:
        assert before, "traits.state_at_construction: a new optimizer has no state"
    else:
        assert not before, "a parameter has state before its first step"
    drive(optimizer, used, gradients(used, 3))
    moved = float((unused.detach() - start[0]).abs().max())
    assert torch.equal(unused.detach(), start[0]), f"a parameter without gradient moved by {moved:.1e}"
    after = optimizer.state.get(unused, {})
    assert bool(before) or not after, "a parameter without gradient got state"
    _same_state({0: before}, {0: after}, "steps in which the parameter had no gradient")
    drive(optimizer, bag.tensors(), [[torch.zeros_like(t) for t in start]] * 3)
    finite = all(bool(torch.isfinite(p).all()) for p in bag.tensors())
    assert finite, "zero gradients made a parameter infinite or NaN"
    zeros = [[torch.zeros_like(t) for t in start]] * 3
    moves = displacement(subject, start, zeros, lr=1e-2, weight_decay=0.0)
    for t, moved_by in zip(start, moves, strict=True):
        shrunk = t * ((moved_by * t).sum() / t.square().sum())  # by a decay that is part of the method
        far = float((moved_by - shrunk).abs().max())
        assert far < 1e-6, f"{tuple(t.shape)}, all of whose gradients were 0, moved by {far:.1e}"


def skips_a_dropped_step(subject: Subject) -> None:
    """``step()`` without gradients changes neither weights nor state nor counters.

    Fix: do nothing for parameters whose ``grad`` is None: count and decay after that test.
    """
    model = seeded_net(4)
    optimizer = subject.build(model, lr=1e-2)
    train(model, optimizer, 3)
    before = copy.deepcopy(optimizer.state_dict())
    weights = copy.deepcopy(model.state_dict())
    optimizer.zero_grad(set_to_none=True)
    take_step(optimizer)
    _same_state(before["state"], optimizer.state_dict()["state"], "a step without gradients")
    for name, value in model.state_dict().items():
        changed = float((value - weights[name]).abs().max())
        assert torch.equal(value, weights[name]), (
            f"{name} changed by {changed:.1e} in a step without gradients"
        )


def _same_state(before: dict[Any, Any], after: dict[Any, Any], where: str) -> None:
    assert before.keys() == after.keys(), f"a parameter got or lost state in {where}"
    for index, entry in before.items():
        assert entry.keys() == after[index].keys(), f"state appeared or vanished in {where}"
        for key, value in entry.items():
            now = after[index][key]
            same = torch.equal(now, value) if isinstance(value, Tensor) else now == value
            assert same, f"state {key!r} changed in {where}, from {_shown(value)} to {_shown(now)}"


def _shown(value: Any) -> str:
    return f"a mean of {float(value.double().mean()):.3g}" if isinstance(value, Tensor) else repr(value)


def refuses_sparse_gradients(subject: Subject) -> None:
    """A sparse gradient is refused by an error that says so, before weights, state or groups are changed.

    Where the traits say ``sparse_gradients``, the first update is that of the dense gradient.

    Fix: look at all gradients before the first write: ``if p.grad.is_sparse: raise ValueError("... sparse
    ...")``; or, if rows that occur twice are added up, declare ``OptimizerTraits(sparse_gradients=True)``.
    """
    if subject.traits.sparse_gradients:
        _takes_sparse_gradients(subject)
        return
    bag = Bag([torch.ones(5, 4), torch.ones(3)])
    optimizer = subject.build(bag, lr=1e-2)
    drive(optimizer, bag.tensors(), gradients(bag.tensors(), 3))
    before = copy.deepcopy((bag.state_dict(), optimizer.state_dict()))
    dense, sparse = bag.tensors()[1], bag.tensors()[0]
    dense.grad = torch.ones(3)
    sparse.grad = torch.ones(5, 4).to_sparse()
    try:
        take_step(optimizer)
    except Exception as problem:
        message = str(problem)
    else:
        raise AssertionError("a sparse gradient was accepted")
    assert "sparse" in message.lower(), f"the message does not say that the gradient is sparse: {message}"
    weights, saved = before
    now = optimizer.state_dict()
    for name, value in bag.state_dict().items():
        assert torch.equal(value, weights[name]), f"{name} moved although the step was refused"
    assert now["param_groups"] == saved["param_groups"], "a group changed although the step was refused"
    _same_state(saved["state"], now["state"], "a step that was refused")


def _takes_sparse_gradients(subject: Subject) -> None:
    ids = torch.tensor([1, 3, 1, 4])  # one row occurs twice, as tokens do
    start, found = torch.linspace(-1, 1, 20).view(5, 4), []
    for sparse in (False, True):
        bag = Bag([start.clone()])
        (table,) = bag.tensors()
        optimizer = subject.build(bag, lr=1e-2, weight_decay=0.0)
        for _ in range(2 if subject.traits.idle_first_step else 1):
            optimizer.zero_grad()
            # torch warns of sparse tensors where nothing says whether to check them, once in a process
            with torch.sparse.check_sparse_tensor_invariants(enable=False):
                torch.nn.functional.embedding(ids, table, sparse=sparse).square().sum().backward()
                take_step(optimizer)
        found.append(table.detach() - start)
    dense_move, sparse_move = found
    apart = error(sparse_move, dense_move)
    assert apart < 1e-4, (
        "the update by a sparse gradient, in which one row occurs twice, differs from that by the same dense "
        f"gradient by {apart:.0e} of the largest move"
    )


def keeps_as_much_as_declared(subject: Subject) -> None:
    """The state of treated parameters has ``traits.state_per_element`` numbers per element.

    Fix: declare the number of tensors of the shape of the parameter that ``self.state[p]`` holds, or None.
    """
    bag = Bag([torch.ones(6, 10), torch.ones(12, 4), torch.ones(7)])
    optimizer = subject.build(bag, lr=1e-2)
    drive(optimizer, bag.tensors(), gradients(bag.tensors(), 2))
    for p in treated(subject, optimizer):
        numbers = sum(v.numel() for v in optimizer.state[p].values() if isinstance(v, Tensor) and v.ndim > 0)
        expected = (subject.traits.state_per_element or 0) * p.numel()
        assert numbers == expected, (
            f"the state of {tuple(p.shape)} has {numbers} numbers, declared {expected}"
        )


def keeps_plain_state(subject: Subject) -> None:
    """State consists of tensors and plain values: numbers, strings, None; groups can be written as JSON.

    Fix: store tensors themselves, and what else is needed as a number: ``self.state[p]["step"] += 1``.
    """
    model = seeded_net(4)
    optimizer = subject.build(model, lr=1e-2)
    train(model, optimizer, 2)
    state = optimizer.state_dict()
    for index, entry in state["state"].items():
        assert isinstance(entry, dict), f"state[{index!r}] is a {type(entry).__name__}, of no parameter"
        for key, value in entry.items():
            plain = value is None or isinstance(value, (Tensor, bool, int, float, str))
            assert plain, f"state {key!r} is a {type(value).__name__}"
    for group in state["param_groups"]:
        for key, value in group.items():
            try:
                json.dumps(value)
            except TypeError as error:
                raise AssertionError(f"group[{key!r}] is a {type(value).__name__}: {error}") from error


def swaps_weights(subject: Subject) -> None:
    """``train()`` undoes ``eval()``, repeated calls have no effect, and training resumes from both modes.

    Fix: keep the mode in the groups, swap weights only where it changes, and raise ``RuntimeError`` in
    ``step()`` of evaluation mode.
    """
    for numbers in ({}, _other_rates(subject)):
        _swap(subject, numbers)


def _other_rates(subject: Subject) -> dict[str, Any]:
    """Return decay rates that are not the defaults, for what should read them from the group."""
    found = {}
    for name, option in read_options(subject.cls).items():
        rates = option.default if isinstance(option.default, tuple) else (option.default,)
        if all(isinstance(rate, float) and 0.5 < rate < 1 for rate in rates):
            lower = tuple(0.8 * rate for rate in rates)
            found[name] = lower if isinstance(option.default, tuple) else lower[0]
    return found


def _swap(subject: Subject, numbers: dict[str, Any]) -> None:
    model, resumed = seeded_net(4), seeded_net(5)
    optimizer: Any = subject.build(model, lr=1e-2, **numbers)
    train(model, optimizer, 6)
    training = copy.deepcopy(model.state_dict())
    optimizer.eval()
    evaluation = copy.deepcopy(model.state_dict())
    moved = any(not torch.equal(evaluation[name], training[name]) for name in training)
    assert moved, "eval() changes no weight: there is one set of weights only"
    optimizer.eval()
    for name, value in model.state_dict().items():
        assert torch.equal(value, evaluation[name]), f"a second eval() changes {name}"
    try:
        train(model, optimizer, 1)
    except RuntimeError:
        pass
    else:
        raise AssertionError("step() in evaluation mode was accepted: its gradients belong to other weights")
    other: Any = subject.build(resumed, lr=1e-2, **numbers)
    other.load_state_dict(_through_torch(optimizer.state_dict()))
    resumed.load_state_dict(model.state_dict())
    for each, its in ((model, optimizer), (resumed, other)):
        its.train()
        for name, value in each.state_dict().items():
            assert error(value, training[name]) < 1e-6, f"train() does not give {name} back"
        train(each, its, 3, start=6)
    for (name, a), b in zip(model.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b), f"{name} differs after resuming from a state saved in evaluation mode"
