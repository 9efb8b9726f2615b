"""What the tasks share whose section in ``training`` has the keys of fine-tuning.

* ``options``: these keys.
* ``keys``: from them to the keys of a run, and its length.
* ``task``: the declaration that the tasks inherit from.
"""
