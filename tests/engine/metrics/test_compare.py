"""The loop over methods and measures: what is done, what is refused, what is kept."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from nni_widgets.engine.methods import CAM, IntegratedGradients, Saliency
from nni_widgets.engine.metrics.base import Measured, Metric, MetricCard, Subject
from nni_widgets.engine.metrics.chance import RandomAttribution
from nni_widgets.engine.metrics.compare import Scores, score_all
from nni_widgets.engine.metrics.completeness import Completeness
from nni_widgets.engine.metrics.flipping import Selectivity
from nni_widgets.engine.metrics.sparseness import Sparseness
from nni_widgets.engine.targets import Difference

torch.manual_seed(0)
MODEL = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
X = torch.rand(5, 6, generator=torch.Generator().manual_seed(1))


class Fails(Metric):
    """A measure that no method can satisfy."""

    title = "Fails"
    card = MetricCard("?", "higher", "", "", "")

    def _steps(self, subject: Subject) -> Iterator[Measured]:
        raise ValueError("Fails: x must be otherwise; got this. Change it.")


class WithoutCard(Metric):
    """A measure whose author has written no card."""


def complete(*asked: object, **options: object) -> Scores:
    *_, last = score_all(*asked, **options)
    return last


def test_each_cell_is_what_the_measure_says_alone() -> None:
    methods, metrics = [Saliency(), IntegratedGradients()], [Selectivity(patch=1), Sparseness()]
    found = complete(MODEL, X, methods, metrics)
    assert found.methods == ("Saliency", "Integrated gradients", "Random")
    assert list(found.metrics) == ["Selectivity", "Sparseness"]
    assert (found.chance, found.samples, found.done, found.of) == ("Random", 5, 6, 6)
    rows = zip(found.methods, [*methods, RandomAttribution()], strict=True)
    for name, method in rows:
        for title, metric in found.metrics.items():
            assert found.cells[name, title].measured.values.equal(metric(MODEL, X, method))


def test_it_comes_cell_by_cell_and_what_was_given_before_stays() -> None:
    work = score_all(MODEL, X, [Saliency()], [Sparseness(), Completeness()])
    every = list(work)
    assert [one.done for one in every] == [0, 1, 2, 3, 4]
    assert list(every[-1].cells) == [
        ("Saliency", "Sparseness"),
        ("Saliency", "Completeness gap"),
        ("Random", "Sparseness"),
        ("Random", "Completeness gap"),
    ]
    assert every[1].cells == dict(list(every[-1].cells.items())[:1])


def test_stopping_in_the_midst_does_no_more_work() -> None:
    asked = []

    def ours(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        asked.append(len(x))
        return x

    work = score_all(MODEL, X, [Saliency(), ours], [Sparseness()])
    assert [next(work).done for _ in range(2)] == [0, 1]
    work.close()
    assert not asked


def test_an_attribution_is_made_once_for_all_measures() -> None:
    asked = []

    def ours(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        asked.append(target.tolist())
        return x

    complete(MODEL, X, [ours], [Sparseness(), Selectivity(patch=1), Completeness()], 2)
    assert asked == [[2] * 5]


def test_what_is_refused_is_a_cell_with_the_sentence() -> None:
    found = complete(MODEL, X, [CAM(), Saliency()], [Fails(), Sparseness()])
    assert "CAM: the end of the model must be" in found.cells["CAM", "Sparseness"].refusal
    assert found.cells["CAM", "Sparseness"].measured is None
    assert found.cells["Saliency", "Fails"].refusal == (
        "Fails: x must be otherwise; got this. Change it."
    )
    assert found.cells["Saliency", "Sparseness"].measured
    assert found.done == found.of == 6


def test_an_error_of_ones_own_method_does_not_end_the_others() -> None:
    def ours(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        raise ZeroDivisionError("no ink")

    found = complete(MODEL, X, [ours, Saliency()], [Sparseness()])
    assert found.cells["ours", "Sparseness"].refusal == "ZeroDivisionError: no ink"
    assert found.cells["Saliency", "Sparseness"].measured


def test_an_attribution_stands_for_a_method_where_it_can() -> None:
    metrics = [Sparseness(), Selectivity(patch=1, again=True)]
    found = complete(MODEL, X, [X, X + 1], metrics)
    assert found.methods == ("attribution", "attribution 2", "Random")
    assert found.cells["attribution", "Sparseness"].measured
    assert "method must be a method" in found.cells["attribution", "Selectivity"].refusal


def test_a_method_that_fails_is_not_asked_again_for_every_measure() -> None:
    asked = []

    def ours(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        asked.append(len(x))
        raise RuntimeError("too late")

    found = complete(MODEL, X, [ours], [Sparseness(), Selectivity(), Completeness()])
    assert {found.cells["ours", title].refusal for title in found.metrics} == {
        "RuntimeError: too late"
    }
    assert asked == [5]


def test_names() -> None:
    methods = [Saliency(), IntegratedGradients(n_steps=3), IntegratedGradients(), len, len]
    metrics = [Selectivity(patch=1), Selectivity(patch=2), Sparseness()]
    first = next(score_all(MODEL, X, methods, metrics))
    assert first.methods == (
        "Saliency", "IntegratedGradients(n_steps=3)", "IntegratedGradients()", "len", "len 2",
        "Random",
    )  # fmt: skip
    assert list(first.metrics) == ["Selectivity(patch=1)", "Selectivity(patch=2)", "Sparseness"]
    named = next(score_all(MODEL, X, {"a": Saliency(), "Random": X}, {"b": Sparseness()}))
    assert named.methods == ("a", "Random", "RandomAttribution()")
    assert (named.chance, list(named.metrics)) == ("RandomAttribution()", ["b"])
    taken = {"Random": Saliency(), "RandomAttribution()": X}
    assert next(score_all(MODEL, X, taken, metrics)).methods == (*taken, "RandomAttribution() 2")


def test_chance_is_there_once_and_its_seed_decides() -> None:
    found = complete(MODEL, X, [RandomAttribution(seed=4), Saliency()], [Sparseness()], seed=1)
    assert found.methods == ("Random", "Saliency")
    other = complete(MODEL, X, [Saliency()], [Sparseness()], seed=4)
    again = complete(MODEL, X, [Saliency()], [Sparseness()], seed=5)
    scores = [one.cells["Random", "Sparseness"].measured.values for one in (found, other, again)]
    assert scores[0].equal(scores[1])
    assert not scores[0].equal(scores[2])
    for methods in ([Saliency()], [RandomAttribution()]):
        with pytest.raises(ValueError, match="RandomAttribution: seed must be a whole number"):
            next(score_all(MODEL, X, methods, [Sparseness()], seed=1.5))


@pytest.mark.parametrize(
    ("x", "methods", "metrics", "target", "words"),
    [
        (X, [], [Sparseness()], None, "compare: methods must be at least one; got none"),
        (X, [Saliency()], [], None, "compare: metrics must be at least one; got none"),
        (X, [Saliency()], [Sparseness], None, "compare: metrics must be measures such as"),
        (X, [Saliency()], [WithoutCard()], None, r"metrics must be measures with a card; got With"),
        (X, [Saliency], [Sparseness()], None, "Call the class to make a method"),
        (X[:0], [Saliency()], [Sparseness()], None, "at least one sample"),
        (X * torch.nan, [Saliency()], [Sparseness()], None, "pixels that are NaN"),
        (X, [Saliency()], [Sparseness()], 7, "target must be a class from 0 to 2"),
        (X, [Saliency()], [Sparseness()], Difference(0, 7), "target must be a class from 0 to 2"),
        (X, Saliency(), [Sparseness()], None, "methods must be a list or a dictionary; got Sal"),
        (X, X, [Sparseness()], None, "methods must be a list or a dictionary; got Tensor"),
        (X, X.numpy(), [Sparseness()], None, "methods must be a list or a dictionary; got ndarray"),
        (X, [Saliency()], Sparseness(), None, "metrics must be a list or a dictionary; got Spa"),
        (X, {1: Saliency()}, [Sparseness()], None, r"methods must be named by strings; got \[1\]"),
        (X[0], [Saliency()], [Sparseness()], None, r"^compare: x must be a batch of at least one"),
        (X.double(), [Saliency()], [Sparseness()], None, "^compare: x must be torch.float32 on"),
        (X, [Saliency()], [Sparseness()], [0], "^compare: target must be one class or 5 classes"),
    ],
)
def test_what_nothing_can_be_asked_about_is_refused(
    x: Tensor, methods: list, metrics: list, target: object, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        next(score_all(MODEL, x, methods, metrics, target))
