"""Models inside ``torch.compile``, ``torch.export`` and ``vmap``, where no value of the mask can be read."""

from __future__ import annotations

import pytest
import torch

from support.hf_models import batch, make
from ultra_blocks.hf import UltraForMaskedLM, UltraForSequenceClassification


def masked():
    inputs = batch()
    del inputs["labels"]
    return inputs


@pytest.mark.parametrize("block", ["gla", "mamba", "longformer_attn"])
def test_a_batch_with_padding_is_one_graph(block):
    model = make(layer_pattern=[block], num_layers=1)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    found, expected = compiled(**masked()).logits, model(**masked()).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pattern", [["standard_attn", "gqa_attn"], ["fox_attn", "latent_attn"]], ids=str)
def test_an_exported_program_takes_other_batches(pattern):
    model = make(UltraForSequenceClassification, layer_pattern=pattern)
    sizes = {0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("length", min=2, max=128)}
    shapes = {"input_ids": sizes, "attention_mask": sizes}
    program = torch.export.export(model, (), masked(), dynamic_shapes=shapes).module()
    for rows, length in ((1, 5), (5, 29)):
        ids = torch.randint(40, (rows, length))
        mask = torch.ones(rows, length, dtype=torch.long)
        mask[-1, length // 2 :] = 0
        mask[0, :2] = 0
        found = program(input_ids=ids, attention_mask=mask).logits
        torch.testing.assert_close(found, model(ids, mask).logits, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch computes attention row by row
def test_gradients_of_every_row():
    model, inputs = make(UltraForMaskedLM).double(), masked()
    parameters = dict(model.named_parameters())

    def loss(parameters, ids, mask):
        given = {"input_ids": ids[None], "attention_mask": mask[None]}
        return torch.func.functional_call(model, parameters, (), given).logits.square().sum()

    each = torch.func.grad(loss)
    found = torch.func.vmap(each, in_dims=(None, 0, 0))(parameters, *inputs.values())
    for row in range(3):
        expected = each(parameters, *(value[row] for value in inputs.values()))
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name][row], gradient)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float32, torch.float16])
def test_masks_of_any_dtype(dtype):
    model, inputs = make(), masked()
    expected = model(**inputs).logits
    assert torch.equal(model(inputs["input_ids"], inputs["attention_mask"].to(dtype)).logits, expected)
