"""What every registered plugin must refuse with a ValueError, before a wrong number comes out of it."""

from typing import Literal, get_args, get_origin

import pytest
import torch

from ultra_blocks.config import UltraConfig
from ultra_blocks.encoder import Encoder
from ultra_blocks.encoder.embeddings import EmbeddingConv
from ultra_blocks.hf import UltraHFConfig, UltraModel
from ultra_blocks.layout import Layout
from ultra_blocks.testing.cases import MODEL
from ultra_core import blocks, ffns, norms, positions
from ultra_core.plugins.signatures import bind, read_options
from ultra_core.plugins.types import range_of, split

SIZES = {"hidden_size": 16, "causal": False}
SUPPLIED = {
    "block": SIZES,
    "ffn": {**SIZES, "ffn_hidden_size": 32, "model": {}},
    "norm": {**SIZES, "place": "mixer"},
    "position code": {**SIZES, "head_dim": 8, "num_heads": 2},
}


def build(registry, name, **options):
    cls = registry.get(name)
    causal = not getattr(getattr(cls, "traits", None), "bidirectional", True)
    supplied = {**SUPPLIED[registry.noun], "causal": causal}
    return cls(**bind(cls, options, supplied=supplied, model=MODEL))


def wrong(option):
    """Yield values just outside the declared range, and a choice that there is not."""
    for hint in (option.type, *(() if get_origin(option.type) is Literal else get_args(option.type))):
        base, extras = split(hint)
        if get_origin(base) is Literal:
            yield "no_such"
        for limits in {option.range if hint is option.type else range_of(extras)} - {None}:
            if limits.min is not None:
                yield limits.min - 1
            if limits.gt is not None:
                yield limits.gt
            if limits.max is not None:
                yield limits.max + 1
            if limits.lt is not None:
                yield limits.lt


CASES = [
    pytest.param(registry, name, key, value, id=f"{name}-{key}-{value}")
    for registry in (blocks, ffns, norms, positions)
    for name in registry.names()
    for key, option in read_options(registry.get(name)).items()
    if option.settable
    for value in wrong(option)
]


@pytest.mark.parametrize(("registry", "name", "key", "value"), CASES)
def test_a_value_outside_its_declared_range(registry, name, key, value):
    with pytest.raises(ValueError, match=key):
        build(registry, name, **{key: value})


def whole(option):
    """A number that a whole option takes, None for other options."""
    taken = [split(hint)[0] for hint in (option.type, *get_args(option.type))]
    if int not in taken or float in taken:
        return None
    return option.default if type(option.default) is int else MODEL.get(option.from_model, 8)


WHOLE = [
    pytest.param(registry, name, key, float(number) + more, id=f"{name}-{key}-{number + more}")
    for registry in (blocks, ffns, norms, positions)
    for name in registry.names()
    for key, option in read_options(registry.get(name)).items()
    if option.settable and (number := whole(option)) is not None
    for more in (0.0, 0.5)
]


@pytest.mark.parametrize(("registry", "name", "key", "value"), WHOLE)
def test_a_fraction_where_a_whole_number_is_wanted(registry, name, key, value):
    with pytest.raises(ValueError, match=key):
        build(registry, name, **{key: value})


@pytest.mark.parametrize("key", ["base", "damping", "margin"])
def test_an_endless_number_in_a_position_code(key):
    with pytest.raises(ValueError, match=f"{key}.*finite"):
        build(positions, "hope", **{key: float("inf")})


def test_the_ranges_of_the_issue_are_declared():
    found = {case.id for case in CASES}
    assert {"retnet-chunk_size-0", "ode-solver-no_such", "hope-damping--1", "moe-top_k-0"} <= found


HEADED = [name for name in blocks.names() if "num_heads" in read_options(blocks.get(name))]


@pytest.mark.parametrize("name", HEADED)
def test_heads_that_do_not_divide_the_width(name):
    assert build(blocks, name, num_heads=2)
    with pytest.raises(ValueError, match="heads"):
        build(blocks, name, num_heads=3)


@pytest.mark.parametrize("name", [n for n in HEADED if "num_kv_heads" in read_options(blocks.get(n))])
def test_key_heads_that_do_not_divide_the_heads(name):
    with pytest.raises(ValueError, match="kv_heads"):
        build(blocks, name, num_heads=4, num_kv_heads=3)


OTHER_BATCHES = pytest.mark.parametrize("shape", [(1, 5), (3, 5), (2, 4), (2, 6)])


@pytest.mark.parametrize("name", blocks.names())
@pytest.mark.parametrize("padded", [True, False])
@OTHER_BATCHES
def test_a_layout_of_another_batch(name, shape, padded):
    """One row more or less would be broadcast in silence; a mask of ones would not be looked at."""
    block = build(blocks, name)
    mask = torch.ones(shape, dtype=torch.bool)
    mask[0, -1] = not padded
    with pytest.raises(ValueError, match=r"\(batch, length\)"):
        block(torch.randn(2, 5, 16), Layout.from_mask(mask))


@pytest.mark.parametrize("name", ffns.names())
@OTHER_BATCHES
def test_a_layout_of_another_batch_at_an_ffn(name, shape):
    with pytest.raises(ValueError, match=r"\(batch, length\)"):
        build(ffns, name)(torch.randn(2, 5, 16), Layout.full(*shape))


@pytest.mark.parametrize(
    ("registry", "name"), [(registry, name) for registry in (blocks, ffns) for name in registry.names()]
)
@pytest.mark.parametrize("mask", [torch.ones(2, 5, dtype=torch.bool), torch.ones(2, 5), [[True] * 5] * 2])
def test_a_bare_mask_in_place_of_a_layout(registry, name, mask):
    with pytest.raises(ValueError, match=r"Layout\.from_mask\(mask\)"):
        build(registry, name)(torch.randn(2, 5, 16), mask)


DECODING = [name for name in blocks.names() if blocks.get(name).traits.recurrent_step]


@pytest.mark.parametrize("name", DECODING)
@pytest.mark.parametrize("shape", [(3, 16), (1, 16), (2, 8), (2, 1, 16), (16,)])
@torch.no_grad()
def test_a_step_with_the_state_of_another_batch(name, shape):
    """One row of state would be broadcast in silence."""
    cls = blocks.get(name)
    options = {"conv_size": 0} if "conv_size" in read_options(cls) else {}
    block = cls(**bind(cls, options, supplied={"hidden_size": 16, "causal": True}, model=MODEL))
    y, state = block.step(torch.randn(2, 16), block.init_state(2))
    assert y.shape == (2, 16)
    for before in (block.init_state(2), state):
        with pytest.raises(ValueError, match=r"next token of every row.*\(2, 16\)"):
            block.step(torch.randn(shape), before)
    if shape == (3, 16):
        with pytest.raises(ValueError, match=r"\(1, 16\) with this state; given \(3, 16\)"):
            block.step(torch.randn(shape), block.init_state(1))


def small(**fields):
    return {
        "vocab_size": 20, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "retention_heads": 2,
        "ffn_hidden_size": 8, "use_moe": False, **fields,
    }  # fmt: skip


def test_a_layout_of_another_batch_at_the_encoder():
    encoder, ids = Encoder(UltraConfig(**small())), torch.ones(2, 5, dtype=torch.long)
    with pytest.raises(ValueError, match=r"\(batch, length\)"):
        encoder(ids, Layout.full(1, 5))
    with pytest.raises(ValueError, match=r"Layout\.from_mask\(mask\)"):
        encoder(ids, ids.bool())


@pytest.mark.parametrize("layout", [Layout.full(1, 5), Layout.full(2, 4), torch.ones(2, 5).bool()])
def test_a_layout_of_another_batch_at_the_convolution_of_embeddings(layout):
    with pytest.raises(ValueError, match=r"\(batch, length\)"):
        EmbeddingConv(16, 3)(torch.randn(2, 5, 16), layout)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 4, dtype=torch.long), r"must be \(batch, length\) \(2, 5\), given \(2, 4\)"),
        (torch.ones(5, dtype=torch.long), r"given \(5,\)"),
        (torch.ones(2, 1, 5, 5, dtype=torch.long), "for packed documents give document_ids"),
        (torch.zeros(2, 5), "a row of floats without a 1"),
        (torch.tensor([[1, 1, 2, 2, 2]] * 2), "1 at real tokens and 0 at padding.*document_ids"),
        (torch.tensor([[0, 0, 0, -9999, -9999]] * 2), "1 at real tokens and 0 at padding"),
    ],
)
def test_a_mask_of_the_wrong_shape_dtype_or_values_at_the_model(mask, message):
    model = UltraModel(UltraHFConfig(**small()))
    with pytest.raises(ValueError, match=message):
        model(torch.ones(2, 5, dtype=torch.long), mask)


def test_positions_beyond_a_learned_table_at_the_model():
    model = UltraModel(UltraHFConfig(**small(positions="learned", max_positions=4)))
    with pytest.raises(ValueError, match="5 positions but the table has 4"):
        model(torch.ones(2, 5, dtype=torch.long))


@pytest.mark.parametrize("name", blocks.names())
def test_nan_under_padding_changes_no_bit(name):
    torch.manual_seed(0)
    model = UltraModel(UltraHFConfig(**small(layer_pattern=[name], num_experts=2, use_moe=True))).eval()
    x, mask = torch.randn(2, 6, 16), torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1]])
    found = []
    for rubbish in (0.0, float("nan"), float("inf")):
        leaf = torch.where(mask.bool()[..., None], x, rubbish).requires_grad_()
        y = model(inputs_embeds=leaf, attention_mask=mask).last_hidden_state
        (gradient,) = torch.autograd.grad(y.square().sum(), leaf)
        found.append((y, gradient))
    for y, gradient in found[1:]:
        assert torch.equal(y, found[0][0])
        assert torch.equal(gradient, found[0][1])
    assert found[0][0].isfinite().all()
