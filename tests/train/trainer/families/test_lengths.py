from __future__ import annotations

import torch

from ultra_train.hf.sequence_length import can_read, max_readable_length

TWO_LESS = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"}
"""Families that count positions from the one after that of padding."""
WITHOUT_A_TABLE = {"modernbert", "deberta-v2", "deberta-v3", "funnel", "nomic_bert", "eurobert", "gte"}


def test_a_row_may_be_as_long_as_there_are_positions(family, build):
    model = build(family).train()
    generator = torch.get_rng_state()
    length = max_readable_length(model)
    assert model.training
    if family in WITHOUT_A_TABLE:
        assert length is None
        assert can_read(model, 100)
    else:
        assert length == model.config.max_position_embeddings - 2 * (family in TWO_LESS)
        assert can_read(model, length)
        assert not can_read(model, length + 1)
    assert torch.equal(generator, torch.get_rng_state())
