"""The command line; every command is a file, imported when it is used."""

from ultra_train.cli.app import main

__all__ = ["main"]
