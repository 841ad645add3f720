"""What is asked for, what is being computed, what is known already; no torch, no widget.

A ``Request`` names what is wanted and how to compute it in steps; a ``Worker`` computes the newest
request in its own thread and shows an ``Outcome`` for each step; a ``Cache`` keeps finished ones.
"""

from nni_widgets.session.cache import Cache
from nni_widgets.session.messages import Outcome, Phase, Request, Status, Step
from nni_widgets.session.worker import Worker

__all__ = ["Cache", "Outcome", "Phase", "Request", "Status", "Step", "Worker"]
