from random import Random

import pytest
from hassil.intents import TextSlotList
from hassil.parse_expression import parse_sentence
from hassil.sample import sample_sentence

from ultra_train.data.es_commands.expand import Expander

RULES = {"abre": "abr(e|a)", "donde": "[en] {area}"}
LISTS = {"area": ["la cocina", "el (salón|comedor)"], "name": ["la puerta"]}


@pytest.mark.parametrize(
    "template",
    [
        "hola",
        "abre [la] (puerta|ventana)[s]",
        "<abre> {name} <donde>",
        "(pon;la luz;[ahora])",
        "[[muy] bien|mal]",
    ],
)
def test_draws_are_exactly_the_sentences_that_hassil_samples(template):
    lists = {name: TextSlotList.from_strings(values, allow_template=True) for name, values in LISTS.items()}
    rules = {name: parse_sentence(rule) for name, rule in RULES.items()}
    expected = {" ".join(text.split()) for text in sample_sentence(parse_sentence(template), lists, rules)}
    expander, random = Expander(RULES, LISTS), Random(0)
    drawn = [expander.draw(template, random) for _ in range(500)]
    assert {one.text for one in drawn if one is not None} == expected


def test_lists_of_a_draw_come_first_and_a_missing_list_gives_nothing():
    expander = Expander(RULES, LISTS)
    drawn = expander.draw("abre {name}", Random(0), {"name": ["la caja"]})
    assert drawn is not None
    assert drawn.text == "abre la caja"
    assert expander.draw("abre {nothing}", Random(0)) is None
    assert expander.draw("<nothing>", Random(0)) is None


def test_the_values_of_lists_are_returned_by_slot():
    drawn = Expander(RULES, LISTS).draw("[<abre>] {name:device} <donde>", Random(1))
    assert drawn is not None
    assert dict(drawn.slots).keys() == {"area", "device:name"}
    assert dict(drawn.slots)["device:name"] == "la puerta"
    assert dict(drawn.slots)["area"] in LISTS["area"]
