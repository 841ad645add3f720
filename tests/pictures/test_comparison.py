"""A comparison: its numbers, its table, its plot and its words; stopped, refused, repeated."""

import io
import itertools
import math
import re

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from nni_widgets.engine.methods import GradientTimesInput, IntegratedGradients, Saliency
from nni_widgets.engine.metrics.chance import RandomAttribution
from nni_widgets.engine.metrics.completeness import Completeness
from nni_widgets.engine.metrics.flipping import Selectivity
from nni_widgets.engine.metrics.interval import interval
from nni_widgets.engine.metrics.sparseness import Sparseness
from nni_widgets.pictures.comparison import Comparison, compare, comparisons
from nni_widgets.pictures.numbers import number


class Linear(nn.Module):
    """Logits w·x and its negative, without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.tensor([4.0, 1.0, -2.0, 3.0])
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        score = x.flatten(1) @ self.weight
        return torch.stack([score, -score], 1)


X = torch.rand(6, 4, generator=torch.Generator().manual_seed(1)) + 0.5
METHODS = [GradientTimesInput(), Saliency(), IntegratedGradients()]
METRICS = [Selectivity(patch=1), Sparseness(), Completeness()]


def compared(**options: object) -> Comparison:
    return compare(Linear(), X, METHODS, METRICS, 0, **options)


def test_values_and_intervals_are_those_of_the_measures() -> None:
    found = compared()
    assert found.methods == ("Gradient × input", "Saliency", "Integrated gradients", "Random")
    assert found.metrics == ("Selectivity", "Sparseness", "Completeness gap")
    assert found.values.shape == (4, 3, 6)
    expected = Selectivity(patch=1)(Linear(), X, Saliency(), 0)
    assert found.values[1, 0].equal(expected)
    assert found.intervals["Saliency", "Selectivity"] == interval(expected)
    assert bool(found.values[1, 2].isnan().all())


def test_the_table_of_one_measure_names_it() -> None:
    table = compare(Linear(), X, METHODS, [Sparseness()], 0).table
    assert repr(table).startswith("method: Sparseness ↑\n  Gradient × input: ")


def test_curves_are_those_of_the_measures_that_have_one() -> None:
    found = compared()
    assert set(found.curves) == {(name, "Selectivity") for name in found.methods}
    shares, curve = found.curves["Saliency", "Selectivity"]
    assert torch.trapezoid(curve, shares).equal(found.values[1, 0])


def test_the_best_is_in_the_direction_of_the_measure() -> None:
    found = compared()
    means = found.values.mean(2)
    assert found.best("Selectivity") == found.methods[int(means[:, 0].argmin())]
    assert found.best("Sparseness") == found.methods[int(means[:, 1].argmax())]
    assert found.best("Selectivity") == "Gradient × input"
    nothing = compare(Linear(), X, [Saliency()], [Completeness()])
    assert nothing.best("Completeness gap") == ""
    with pytest.raises(ValueError, match="metric must be one of Selectivity, Sparseness"):
        found.best("ROAD")


def test_it_says_the_same_when_asked_again_and_leaves_torch_alone() -> None:
    before = torch.get_rng_state()
    first, second = compared(), compared()
    assert torch.get_rng_state().equal(before)
    assert first.values.nan_to_num().equal(second.values.nan_to_num())
    assert first._repr_mimebundle_() == second._repr_mimebundle_()
    assert first.intervals != compared(seed=1).intervals


def test_the_digest_has_the_means_in_two_digits() -> None:
    x = torch.tensor([[1.0, 1, 0, 1], [1, 2, 0, 0]])
    given = {"ours": x * Linear().weight, "flat": torch.ones(2, 4)}
    found = compare(Linear(), x, given, {"area": Selectivity(patch=1), "gap": Completeness()}, 0)
    chance = number(found.mean("Random", "area"), digits=2)
    assert repr(found).splitlines() == [
        "3 methods × 2 measures on 2 pictures",
        f"area ↓ ours 1.7, flat 2.4, Random {chance}; best: ours",
        "gap ↓ ours —, flat —, Random —",
    ]
    assert found.values[:2, 0].tolist() == [[2.25, 1.25], [3.5, 1.25]]
    assert found.table.columns == ("method", "area ↓", "gap ↓")
    assert found.table.rows[0] == ("ours", "1.7 [1.2, 2.2] ★", "—")


def test_the_table_in_the_notebook() -> None:
    text = compared()._repr_mimebundle_()["text/html"]
    assert text.count("<tr>") == 5
    assert len(re.findall("<td[^>]*><b>.*?★</b>", text)) == 3
    assert "<i>Random</i>" in text
    assert "lower is better" in text
    assert "higher is better" in text
    assert text.count("data:image/svg+xml;base64,") == 4 + 4 + 2


def test_names_are_only_words_in_html() -> None:
    found = compare(Linear(), X, {"<b>ours": Saliency()}, {"a < b": Sparseness()})
    text = found._repr_mimebundle_()["text/html"]
    assert "<b>ours" not in text
    assert "&lt;b&gt;ours" in text
    assert "a &lt; b" in text


def test_the_plot_shows_every_method_and_every_measure() -> None:
    shown = Image.open(io.BytesIO(compared().png())).convert("RGB")
    points = torch.frombuffer(bytearray(shown.tobytes()), dtype=torch.uint8).reshape(
        shown.height, shown.width, 3
    )
    orange = (points == torch.tensor([0xB3, 0x58, 0x06], dtype=torch.uint8)).all(2)
    rows = orange.any(1).to(torch.int8).diff().eq(1).sum()
    assert int(rows) == 4
    assert Image.open(io.BytesIO(compared().png())).text["Comparison"] == repr(compared())
    many = compare(Linear(), X, METHODS, {f"{k}": Sparseness() for k in range(4)})
    assert Image.open(io.BytesIO(many.png())).height > shown.height


def test_infinite_scores_are_told_and_not_drawn() -> None:
    some = torch.eye(4)[:1].repeat(6, 1)
    found = compare(Linear(), X * 0, {"some": some}, [Completeness(to="score")], 0)
    assert found.mean("some", "Completeness gap") == math.inf
    assert "some inf" in repr(found)
    assert "<svg" not in found._repr_mimebundle_()["text/html"]
    assert found.png()


def test_an_interval_with_an_infinite_end_has_two_digits() -> None:
    x = torch.cat([X[:1] * 0, X[1:]])
    found = compare(Linear(), x, {"some": torch.ones(6, 4)}, [Completeness(to="score")], 0)
    assert re.fullmatch(r"inf \[\d\.\d+, inf\]", found.table.rows[0][1])
    assert found.best("Completeness gap") == ""


def test_chance_alone_is_one_method() -> None:
    found = compare(Linear(), X[:1], [RandomAttribution()], [Sparseness()])
    assert repr(found).startswith("1 method × 1 measure on 1 picture\n")


def test_long_names_of_measures_have_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, float, float]] = []

    def text(
        draw: ImageDraw.ImageDraw, xy: tuple[float, float], words: str, *rest: object, **_: object
    ) -> None:
        drawn.append((xy[1], xy[0], xy[0] + rest[1].getlength(words)))

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    metrics = [Selectivity(patch=1, of="probability", n_steps=k) for k in (1, 2, 3)]
    width = Image.open(io.BytesIO(compare(Linear(), X, METHODS, metrics, 0).png())).width
    heads = sorted(found for found in drawn if found[0] == min(drawn)[0])
    assert len(heads) == 3
    for (_, _, end), (_, start, _) in itertools.pairwise(heads):
        assert end < start
    assert heads[-1][2] < width


def test_an_interrupted_comparison_keeps_what_was_done() -> None:
    def stopped(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        raise KeyboardInterrupt

    found = compare(Linear(), X, [Saliency(), stopped], METRICS)
    assert found.scores.done == 3
    assert repr(found).startswith("3 methods × 3 measures on 6 pictures: 3 of 9 done\n")
    assert "stopped …" in repr(found)
    whole = compare(Linear(), X, [Saliency()], METRICS)
    assert found.values[0, :2].equal(whole.values[0, :2])
    assert bool(found.values[1:].isnan().all())
    assert found._repr_mimebundle_()["text/html"].count("…") == 6
    assert compare(Linear(), X, [stopped], METRICS).scores.done == 0


def test_one_can_watch_and_stop_while_watching() -> None:
    seen = []

    def watch(latest: Comparison) -> None:
        seen.append(latest.scores.done)
        if len(seen) == 2:
            raise KeyboardInterrupt

    assert compared(watch=watch).scores.done == 2
    assert seen == [1, 2]


def test_each_step_shows_itself() -> None:
    every = list(comparisons(Linear(), X, [Saliency()], [Sparseness()]))
    assert [one.scores.done for one in every] == [0, 1, 2]
    for one in every:
        assert one._repr_mimebundle_()["image/png"]
    assert repr(every[0]).endswith("Sparseness ↑ Saliency …, Random …")


def test_what_was_refused_is_told_once() -> None:
    def ours(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        raise ValueError("ours: x must be <large>; got small. Grow it.")

    found = compare(Linear(), X, [ours], [Sparseness(), Completeness()])
    assert repr(found).splitlines()[-1] == (
        "ours, Sparseness, Completeness gap: ours: x must be <large>; got small. Grow it."
    )
    assert found.refusals["ours", "Sparseness"].startswith("ours: x")
    assert 'title="ours: x must be &lt;large&gt;' in found._repr_mimebundle_()["text/html"]
    assert found.table.rows[0][1:] == ("refused", "refused")


def test_samples_without_a_score_are_counted() -> None:
    x = torch.cat([X[:4] * 0, X[4:]])
    attribution = torch.cat([X[:4] * 0, X[4:]])
    found = compare(Linear(), x, {"a": attribution}, [Completeness(to="score")], 0)
    cell = found.scores.cells["a", "Completeness gap"].measured
    cell.values[0] = math.nan
    assert ", n = 5" in Comparison(found.scores).table.rows[0][1]
