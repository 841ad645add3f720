"""The zoo: real data and trained models, bundled, so that every lesson runs offline.

* ``data``: MNIST digits, photographs, class names, and the pen's drawings
* ``models``: trained networks, each with a model card
* ``designs``: the one list of models: how each is built and how it is trained
* ``training``: the command that trains a model again (never imported by the other modules)

Licences and sources of every bundled file stand in ``data/README.md``.
"""
