"""Where texts come from.

* ``data_source``: a source as a preset writes it.
* ``texts``: reads any source, with ``files`` and ``readers`` (text, JSON lines, CSV), ``parquet`` or ``hub``.
* ``row_checker``, ``summary``: bad rows are errors or are counted; a table of the counts.
"""
