"""Self-contained HTML pages: the report of a run, and several runs on one page.

* ``page``: the frame of a page, with its switches and its style; ``charts``: line charts from named series;
  ``tables``: tables; ``thinning``: which points of a long curve are drawn. Any page can be built with these.
"""
