import json

import pytest

from ultra_train.data.errors import DataError
from ultra_train.data.pairs.languages import language_code
from ultra_train.data.pairs.reading import read_pairs


@pytest.mark.parametrize(
    ("name", "code"),
    [("Norwegian", "no"), ("nb", "no"), ("da", "da"), ("español", "es"), ("Klingon", "klingon")],
)
def test_languages_have_names_and_codes(name, code):
    assert language_code(name) == code


def test_rows_are_chosen_by_their_language(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"anchor": f"a{n}", "positive": f"b{n}", "lang": lang}
        for n, lang in enumerate(["da", "danish", "sv"])
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    cache = tmp_path / "cache"
    assert read_pairs(str(path), "pairs", languages=["Danish"], cache_dir=cache)["anchor"] == ["a0", "a1"]
    assert len(read_pairs(str(path), "pairs", languages=[], cache_dir=cache)) == 3
    with pytest.raises(DataError, match="no row is in norwegian; there are da, sv"):
        read_pairs(str(path), "pairs", languages=["norwegian"], cache_dir=cache)
    path.write_text('{"anchor": "a", "positive": "b"}')
    with pytest.raises(
        DataError, match=r"pairs.jsonl:1: languages asks for da, but there is no column 'language'"
    ):
        read_pairs(str(path), "pairs", languages=["da"], cache_dir=cache)
