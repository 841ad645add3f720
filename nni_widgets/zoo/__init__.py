"""The zoo: real data and trained models, bundled, so that every lesson runs offline.

* ``data``: all data there are: ``digits`` of MNIST, ``cluttered`` and marked (``hans``) digits made
  of them, clothes (``fashion``), ``photographs`` with class names, one's own pictures
  (``picture_file``), drawings (``pen``)
* ``models``: trained networks, each with a model card; ``wrap`` for a network of one's own
* ``designs``: the one list of models: how each is built and how it is trained
* ``classifiers``, ``cluttered_nets``, ``generators``, ``photos``: the networks themselves
* ``training``: the command that trains a model again (never imported by the other modules)

Licences and sources of every bundled file stand in ``data/README.md``.
"""
