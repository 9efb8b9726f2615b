from ultra_train.trainer.checkpoints.model_files import model_files


def test_the_files_of_the_model_also_those_of_modules_in_folders(tmp_path):
    ours = ("config.json", "model.safetensors", "1_Pooling/config.json", "query_0/progress.json")
    others = ("optimizer.safetensors", "loss_weights.safetensors", "progress.json", "config.yaml")
    for name in (*ours, *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert {path.relative_to(tmp_path).as_posix() for path in model_files(tmp_path)} == set(ours)
