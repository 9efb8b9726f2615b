from ultra_train.data.es_commands import meanings
from ultra_train.data.pairs.reading import PairSource, read_splits
from ultra_train.retrieval.commands import QUERIES, read_commands
from ultra_train.retrieval.reading import is_collection


def test_a_query_is_a_paraphrase_of_the_document_that_answers_it(command_cache):
    found = read_commands("ultra:es-commands", cache_dir=command_cache)
    by_text = {
        text: meaning
        for meaning in meanings("es", cache_dir=command_cache)
        for text in (meaning.canonical, *meaning.paraphrases)
    }
    assert len(found.documents) == len({id(meaning) for meaning in by_text.values()}) > 2000
    for split, qrels in found.qrels.items():
        assert len(qrels) > 200
        answers = [next(iter(relevant)) for relevant in qrels.relevant]
        assert max(answers.count(answer) for answer in set(answers)) <= QUERIES
        for query, answer in zip(qrels.queries, answers, strict=True):
            meaning = by_text[found.queries[query]]
            assert meaning.canonical == found.documents[answer] != found.queries[query]
            assert meaning.split == split


def test_no_query_is_in_the_pairs_to_train_on(command_cache):
    found = read_commands("ultra:es-commands", cache_dir=command_cache)
    source = PairSource(source="ultra:es-commands", kind="pairs")
    train = read_splits(source, cache_dir=command_cache)["train"]
    assert not {*train["anchor"], *train["positive"]} & set(found.queries)


def test_it_is_read_by_its_name():
    assert is_collection("ultra:nb-commands")
