"""The embedded data sets ``ultra:<language>-commands``: commands to a smart home, in five languages."""

from ultra_train.data.es_commands.commands import LANGUAGES, Sentence, sentences, versions
from ultra_train.data.es_commands.meanings import Meaning, meanings

__all__ = ["LANGUAGES", "Meaning", "Sentence", "meanings", "sentences", "versions"]
