"""Data sets that are put together from data sets of the hub: the three of the Scandinavian sparse encoders.

* ``nli``, ``scandi_qa``, ``ddsc``: what each consists of; ``builder`` reads them by name.
* ``part``: one data set of the hub, or a local folder in its place.
"""
