from pathlib import Path

import pytest

from ultra_train.data.pairs.split_names import split_of_file, split_of_name


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("validation", "dev"),
        ("sts-dev.jsonl", "dev"),
        ("train-00000-of-00002.parquet", "train"),
        ("translated_test_2k.json", "test"),
        ("Eval.csv", "test"),
        ("corpus.jsonl", None),
        ("constraint.jsonl", None),
        ("train-test.jsonl", None),
    ],
)
def test_the_split_of_a_name(name, split):
    assert split_of_name(name) == split


def test_a_folder_between_a_file_and_its_source_counts_and_others_do_not():
    source = Path("/data/training")
    assert split_of_file(source / "dev" / "part-1.parquet", source) == "dev"
    assert split_of_file(source / "part-1.parquet", source) is None
    assert split_of_file(Path("/data/training/test.csv"), Path("/data/*/test.csv")) == "test"
