"""How sure a model is, how that is measured, and how sure an explanation of it can be."""

from nni_widgets.engine.uncertainty.calibration import (
    Reliability,
    Tempered,
    brier,
    fit_temperature,
    nll,
    reliability,
)
from nni_widgets.engine.uncertainty.entropy import Averaged, Entropy
from nni_widgets.engine.uncertainty.evidential import Dirichlet, dirichlet, evidential_loss
from nni_widgets.engine.uncertainty.explanations import (
    UncertainAttribution,
    uncertain,
    uncertain_steps,
)
from nni_widgets.engine.uncertainty.prediction import Prediction
from nni_widgets.engine.uncertainty.sources import Ensemble, InputNoise, MCDropout, Source
from nni_widgets.engine.uncertainty.thinning import Thinned

__all__ = [
    "Averaged",
    "Dirichlet",
    "Ensemble",
    "Entropy",
    "InputNoise",
    "MCDropout",
    "Prediction",
    "Reliability",
    "Source",
    "Tempered",
    "Thinned",
    "UncertainAttribution",
    "brier",
    "dirichlet",
    "evidential_loss",
    "fit_temperature",
    "nll",
    "reliability",
    "uncertain",
    "uncertain_steps",
]
