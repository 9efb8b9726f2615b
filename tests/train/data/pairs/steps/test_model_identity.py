import os

from ultra_train.data.pairs.steps.model_identity import model_identity


def test_a_folder_is_its_files_and_a_name_itself(tmp_path):
    assert model_identity("owner/model") == "owner/model"
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    before = model_identity(str(tmp_path))
    assert before == model_identity(str(tmp_path))
    os.utime(tmp_path / "model.safetensors", ns=(1, 1))
    assert model_identity(str(tmp_path)) != before
