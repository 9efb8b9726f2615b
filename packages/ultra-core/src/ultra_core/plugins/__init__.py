"""Plugins: names from entry points, and schemas from constructor signatures.

* ``registry``, ``metadata``, ``kinds``, ``preset_files``: installed names, read without importing them.
* ``signatures``, ``types``: options of a constructor, and the types that a preset can set.
* ``hooks``: hook specifications and the plugin manager.
* ``describe``, ``aliases``, ``source_files``: docstrings and aliases, read from the source where possible.
"""
