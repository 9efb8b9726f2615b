"""What the task mlm declares: its keys and the rules between them."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from ultra_blocks.traits import Traits
from ultra_core import blocks
from ultra_train.tasks.mlm.options import MaskPolicy, MLMOptions
from ultra_train.tasks.mlm.task import MLM

RULES = [
    (
        "minimal",
        "training.mask_policy={mask_rate: 0.9, random_rate: 0.2}",
        "training.mask_policy",
        "exceed 1",
    ),
    ("minimal", "training.mlm_probability=0", "training.mlm_probability", "> 0"),
    ("minimal", "training.mask_policy={policy: words}", "training.mask_policy.policy", "'whole_word'"),
    (
        "minimal",
        "training.join_temp_data_context_window=513",
        "training.join_temp_data_context_window",
        "from 3 to max_length (512) tokens",
    ),
    ("minimal", "training.overlap_tokens=510", "training.overlap_tokens", "no room for new tokens"),
    ("base", "tokenizer.name_or_path=", "tokenizer.name_or_path", "for example 'some/encoder'"),
    ("base", "tokenizer={train: {vocab_size: 300}}", "tokenizer.train", "keeps the tokenizer"),
]


@pytest.mark.parametrize(("form", "override", "key", "message"), RULES)
def test_contradictions(form, override, key, message, problems, request):
    (fault,) = problems(request.getfixturevalue(form), override)
    assert fault.key == key
    assert message in fault.message


class Unpacked(nn.Module):
    traits: ClassVar[Traits] = Traits(packing=False, longest=64)

    def __init__(self, hidden_size: int) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        (
            "training.batching=packed",
            "training.batching",
            "which the block unpacked of layer 0 does not keep apart",
        ),
        ("training.max_length=65", "training.max_length", "the block unpacked of layer 0 accepts 64 tokens"),
    ],
)
def test_rows_that_a_block_does_not_accept(override, key, message, problems, minimal, monkeypatch):
    monkeypatch.setattr(blocks, "_added", [])
    blocks.add("unpacked", Unpacked)
    own = ("model.layer_pattern=[unpacked]", "training.max_length=64")
    assert not problems(minimal, *own)
    (fault,) = problems(minimal, *own, override)
    assert fault.key == key
    assert message in fault.message


@pytest.mark.parametrize(("block", "batching"), [("unpacked", "length"), ("standard_attn", "packed")])
def test_batches_on_a_gpu_are_packed_where_every_block_keeps_documents_apart(
    block, batching, load, minimal, monkeypatch, tmp_path
):
    monkeypatch.setattr(blocks, "_added", [])
    blocks.add("unpacked", Unpacked)
    preset = load(minimal, f"model.layer_pattern=[{block}]", "training.max_length=64")
    assert MLM("mlm").start(preset, tmp_path, device=torch.device("cuda")).batching == batching


def test_the_seeds_spell_its_keys_flat(load, minimal):
    preset = load(minimal, "training.mlm_probability=0.3", "training.mask_policy={mask_rate: 0.5}")
    options = MLM("mlm").given_options(preset)
    assert options == MLMOptions(mlm_probability=0.3, mask_policy=MaskPolicy(mask_rate=0.5))
    assert preset.notices == ()


def test_a_preset_that_names_no_task_means_it(load, minimal):
    assert load(minimal.replace("  task: mlm\n", "")) == load(minimal)
