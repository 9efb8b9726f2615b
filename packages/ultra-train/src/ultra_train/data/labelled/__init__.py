"""Rows with labels: texts with classes or numbers, and words with tags.

* ``commands``: such rows from the embedded commands.
* ``checking``: a row of a data set as a labelled row, or an error that names its place.
* ``labels``: the list of labels, found or given.
* ``reading``: the rows of every split.
"""
