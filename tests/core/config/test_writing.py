from hypothesis import given
from hypothesis import strategies as st

from support.yaml_trees import texts, trees
from ultra_core.config import dump, parse_source


def test_text_that_looks_like_something_else_is_quoted():
    tree = {
        "a": [
            "1e5",
            "yes",
            "true",
            ".5",
            "0o7",
            "",
            "~",
            "<<",
            "1e999",
            "a: b",
            "x\ny",
            "#",
            "9" * 30,
            ".5e3",
        ]
    }
    assert parse_source(dump(tree)).tree == tree


@given(st.dictionaries(texts, trees, min_size=1, max_size=4))
def test_what_is_dumped_is_read_back_unchanged(tree):
    source = parse_source(dump(tree))
    assert source.faults == []
    assert source.tree == tree
