"""The embedded data sets ``ultra:<language>-commands``: commands to a smart home, in five languages."""

from ultra_train.data.es_commands.commands import LANGUAGES, Sentence, sentences, versions

__all__ = ["LANGUAGES", "Sentence", "sentences", "versions"]
