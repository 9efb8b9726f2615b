import pytest

from ultra_train.data.es_commands import commands
from ultra_train.data.es_commands.grammar import Grammar


@pytest.fixture(scope="module")
def spanish():
    own = commands._language("es")
    rooms = [
        str(value) for slot in ("area", "floor") for group in own["slots"][slot].values() for value in group
    ]
    return Grammar(own["grammar"], commands._heads(own["slots"]), rooms)


@pytest.mark.parametrize(
    "sentence",
    [
        "abre la puerta del garaje",
        "apaga todas las luces",
        "qué ventanas están cerradas",
        "hay alguna lámpara encendida",
        "pon un temporizador de 5 minutos",
        "sube el volumen del salón al 40 por ciento",
        "dónde está Ana",
        "reanuda el temporizador de una hora",
    ],
)
def test_good_spanish_is_accepted(spanish, sentence):
    assert spanish.accepts(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "abre el puerta del garaje",  # gender
        "apaga las luz",  # number
        "apaga luz",  # no article
        "abre la puerta de el garaje",  # contraction
        "qué ventanas están cerrada",  # predicate
        "qué ventanas está cerradas",  # verb
        "pon un temporizador de 5 minuto",  # numeral
        "pon un temporizador de un minutos",
        "pausa mi el temporizador",  # two determiners
        "apaga la luz la cocina",  # no preposition
        "dónde está la Ana",  # a name with an article
        "apaga la luz del salón de la cocina",  # two rooms
        "abre elpuerta",  # glued
        "cierra cierra la puerta",
        "sube la la radio",
    ],
)
def test_slips_are_rejected(spanish, sentence):
    assert not spanish.accepts(sentence)


def test_a_language_without_a_grammar_accepts_everything():
    assert Grammar({}, {}, []).accepts("anything goes")
