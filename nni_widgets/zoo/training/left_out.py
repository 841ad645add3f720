"""Which training images a model learns from, and which it never sees."""

from nni_widgets.zoo.digits import Digits, digits


def training_digits(left_out: int) -> Digits:
    """The training images without the last ones."""
    data = digits("train")
    return split(data, left_out)[0] if left_out else data


def split(data: Digits, n: int) -> tuple[Digits, Digits]:
    """The pictures without the last ``n``, and these."""

    def part(places: slice) -> Digits:
        x, y = data[places]
        return Digits((x * 255).round().byte(), y)

    return part(slice(None, -n)), part(slice(-n, None))
