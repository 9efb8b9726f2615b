from ultra_train.search.snippets import snippet


def test_a_short_text_is_its_own_snippet_on_one_line():
    assert snippet(" uno\n\ndos ", "tres") == "uno dos"


def test_the_part_with_most_different_words_of_the_query_is_shown():
    text = "luz " * 30 + "la lámpara del baño está encendida " + "perro " * 60
    shown = snippet(text, "lámpara del BAÑO", length=60)
    assert "lámpara del baño" in shown
    assert shown.startswith("… ")
    assert shown.endswith(" …")
    assert len(shown) <= 64


def test_without_a_word_of_the_query_the_beginning_is_shown():
    text = "uno dos tres " * 30
    shown = snippet(text, "cuatro", length=20)
    assert shown == "uno dos tres uno dos …"
