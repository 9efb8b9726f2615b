"""``ultra-train plugin``: tools for the authors of plugins.

* ``check``: the conformance kit of a kind, run over one plugin.
* ``new``, ``templates``: a package with a plugin that installs, keeps the rules of its kind and trains.
"""
