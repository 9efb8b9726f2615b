"""The keys of both tasks, and the rules between them."""

import pytest

TEXT = """\
base_model: some/encoder
training:
  task: classification
  classification: {dataset_name: some/texts}
"""


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["labels=[a, a]"], "names 'a' twice"),
        (["labels=[a, b]", "class_weights={c: 2.0}"], "labels has no 'c'"),
        (["columns={frase: text}"], "labelled_texts has no column 'frase'"),
        (["problem_type=regression", "labels=[a, b]"], "regression has numbers instead of labels"),
        (["problem_type=multi_label", "class_weights=balanced"], "only single_label has class weights"),
        (["labels=[a]"], "nothing to choose"),
        (["dataset_name=null"], "set dataset_name"),
        (["num_epochs=3"], "epochs"),
    ],
)
def test_what_is_refused(problems, keys, message):
    found = problems(TEXT, *(f"training.classification.{key}" for key in keys))
    assert any(message in fault.message for fault in found), found


def test_tags_are_bio(problems):
    text = TEXT.replace("classification", "token_classification")
    (fault,) = problems(text, "training.token_classification.labels=[O, ROOM]")
    assert "'ROOM' is none of BIO" in fault.message


def test_it_is_accepted_and_has_its_place_in_the_schema(accepted):
    preset = accepted(TEXT, "training.classification.class_weights={a: 2.0}")
    assert preset.training.classification.class_weights == {"a": 2.0}
    assert preset.training.classification.epochs == 1
