from __future__ import annotations

import torch

from support.splade import TEXTS, write_family
from ultra_train.embeddings.building import dense_encoder, splade_encoder
from ultra_train.embeddings.loading import load_encoder
from ultra_train.embeddings.unpadding import unpad_inputs


def test_encoders_of_this_project_leave_out_padding(finished_run, tmp_path):
    encoder = dense_encoder(finished_run, device="cpu")
    network = encoder[0].model
    assert network.unpad_inputs
    found = encoder.encode(TEXTS, convert_to_tensor=True)
    network.unpad_inputs = False
    torch.testing.assert_close(found, encoder.encode(TEXTS, convert_to_tensor=True))
    encoder.save_pretrained(str(tmp_path))
    assert load_encoder(tmp_path, device="cpu")[0].model.unpad_inputs
    assert splade_encoder(finished_run, device="cpu")[0].model.model.unpad_inputs


def test_models_of_transformers_stay_as_they_are(tmp_path):
    assert unpad_inputs(dense_encoder(write_family(tmp_path, "bert"), device="cpu")) == 0
