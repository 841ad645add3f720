"""How the models of the zoo were trained; never imported by what uses them.

The command is ``python -m nni_widgets.zoo.training NAME``. Each module but these is a family of
models, named by their designs: ``train(design, report)`` gives the trained model and
``figures(model)`` what its card says of it; a family whose recipe can be chosen by pictures that
are left out also takes others: ``train(design, report, data)`` and ``measured(model, data)``.

* ``store``: what is written, weights and card
* ``augmentation``: random distortions of digits
* ``left_out``: which training images a model learns from, and which it never sees
* ``cycle``: the steps that all classifiers are trained by
* ``samples``: how good the pictures are that a model makes
"""
