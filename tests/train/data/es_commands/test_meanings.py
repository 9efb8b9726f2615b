from collections import Counter

from ultra_train.data.es_commands import meanings, sentences


def test_every_sentence_has_one_meaning_and_a_tenth_is_held_out(command_cache):
    found = meanings("es", cache_dir=command_cache)
    texts = [text for one in found for text in (one.canonical, *one.paraphrases)]
    assert sorted(texts) == sorted(sentence.text for sentence in sentences("es", cache_dir=command_cache))
    splits = Counter(one.split for one in found)
    assert splits.keys() == {"train", "dev", "test"}
    assert all(0.07 < splits[name] / len(found) < 0.13 for name in ("dev", "test"))
    assert sum(bool(one.paraphrases) for one in found if one.split == "test") > 80


def test_paraphrases_ask_for_the_same(command_cache):
    by_sentence = {
        text: one.name
        for one in meanings("es", cache_dir=command_cache)
        for text in (one.canonical, *one.paraphrases)
    }
    pairs = [("enciende la luz", "prende la luz"), ("silenciar el proyector", "silencia el proyector")]
    for first, second in pairs:
        assert by_sentence[first] == by_sentence[second]
    assert by_sentence["enciende la luz"] != by_sentence["apaga la luz"]
