"""Measures of the quality of an explanation, and the comparison of methods by them.

``METRICS`` is the one list of the measures: a new one is one class and one line here.
"""

from nni_widgets.engine.metrics.base import Measured, Metric, MetricCard, Subject
from nni_widgets.engine.metrics.chance import RandomAttribution
from nni_widgets.engine.metrics.clusters import Clusters, clusters
from nni_widgets.engine.metrics.completeness import Completeness
from nni_widgets.engine.metrics.continuity import Continuity, MaxSensitivity
from nni_widgets.engine.metrics.faithfulness import Infidelity, SensitivityN
from nni_widgets.engine.metrics.flipping import Deletion, Insertion, Selectivity
from nni_widgets.engine.metrics.interval import Interval, interval
from nni_widgets.engine.metrics.localisation import PointingGame, RelevanceMass
from nni_widgets.engine.metrics.randomisation import Randomisation, layers_from_top, randomised
from nni_widgets.engine.metrics.road import ROAD
from nni_widgets.engine.metrics.sparseness import Sparseness

METRICS: tuple[type[Metric], ...] = (
    Selectivity,
    Deletion,
    Insertion,
    ROAD,
    Infidelity,
    SensitivityN,
    Continuity,
    MaxSensitivity,
    Randomisation,
    PointingGame,
    RelevanceMass,
    Sparseness,
    Completeness,
)

__all__ = [
    "METRICS",
    "ROAD",
    "Clusters",
    "Completeness",
    "Continuity",
    "Deletion",
    "Infidelity",
    "Insertion",
    "Interval",
    "MaxSensitivity",
    "Measured",
    "Metric",
    "MetricCard",
    "PointingGame",
    "RandomAttribution",
    "Randomisation",
    "RelevanceMass",
    "Selectivity",
    "SensitivityN",
    "Sparseness",
    "Subject",
    "clusters",
    "interval",
    "layers_from_top",
    "randomised",
]
