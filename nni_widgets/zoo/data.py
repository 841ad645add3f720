"""The bundled data: digits, plain, cluttered or marked; clothes, photographs, names; drawings.

Everything is read from files of the package and cached; what is handed out is always a fresh copy.
Pictures are float32 tensors with pixels in [0, 1].
"""

from nni_widgets.zoo.cluttered import Cluttered, cluttered, peak_in_box
from nni_widgets.zoo.digits import Digits, digits
from nni_widgets.zoo.fashion import Fashion, fashion
from nni_widgets.zoo.hans import Hans, hans
from nni_widgets.zoo.pen import draw_onto, drawing
from nni_widgets.zoo.photographs import (
    Photographs,
    imagenet_classes,
    photograph_batch,
    photographs,
    picture,
)

__all__ = [
    "Cluttered",
    "Digits",
    "Fashion",
    "Hans",
    "Photographs",
    "cluttered",
    "digits",
    "draw_onto",
    "drawing",
    "fashion",
    "hans",
    "imagenet_classes",
    "peak_in_box",
    "photograph_batch",
    "photographs",
    "picture",
]
