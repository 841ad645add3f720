"""What the traces keep on the way is what the method itself has computed."""

from itertools import pairwise

import pytest
import torch

import nni_widgets as nni
from nni_widgets.engine.methods.path_trace import TracedPath
from tests.engine.common import assert_near, build
from tests.oracle.nets import NETS

NAMES = ["residual", "squeeze_excite", "branches"]


def traced(method, model, x, target=None):
    return list(method.steps(model, x, target))


def slow_gradient(model, x, k):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(model(leaf)[range(len(x)), k].sum(), leaf)[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_steps", [1, 7, 50])
def test_a_traced_path_adds_up_to_integrated_gradients(name, n_steps):
    model, x = build(NETS[name])
    *_, result = traced(TracedPath(n_steps=n_steps, baseline=0.3), model, x)
    expected = nni.IntegratedGradients(n_steps=n_steps, baseline=0.3)(model, x)
    assert_near(result.values, expected, 1e-10)
    assert_near(result.added.sum(0), expected, 1e-10)
    assert_near(result.up_to(n_steps - 1), expected, 1e-10)
    assert_near(result.sums[-1], expected.flatten(1).sum(1), 1e-10)
    assert (result.done, result.of, len(result.places)) == (n_steps, n_steps, n_steps)


@pytest.mark.parametrize("name", NAMES)
def test_each_point_is_what_the_model_says_there(name):
    model, x = build(NETS[name])
    k = model(x).argmax(1)
    *_, result = traced(TracedPath(n_steps=6), model, x)
    weights = torch.diff(result.reached, prepend=torch.zeros(1, dtype=torch.float64))
    for point in range(6):
        (picture,) = result.pictures(result.places[point], x)
        assert_near(picture, result.places[point] * x, 1e-12)
        assert_near(result.scores[point], model(picture)[range(len(x)), k].detach(), 1e-10)
        expected = weights[point] * x * slow_gradient(model, picture, k)
        assert_near(result.added[point], expected, 1e-9)


def test_a_path_grows_from_the_baseline_on():
    model, x = build(NETS["residual"])
    results = traced(TracedPath(n_steps=200), model, x)
    assert len(results) > 1
    done = [result.done for result in results]
    assert done == sorted(done)
    for earlier, later in pairwise(results):
        assert torch.equal(earlier.places, later.places[: earlier.done])
        assert_near(earlier.values, later.up_to(earlier.done - 1), 1e-10)


def test_several_ways_are_averaged():
    model, x = build(NETS["branches"])
    baselines = [0.0, 0.5, torch.rand_like(x)]
    *_, result = traced(TracedPath(n_steps=6, baseline=baselines), model, x)
    alone = [traced(TracedPath(n_steps=6, baseline=one), model, x)[-1] for one in baselines]
    for what in ("values", "added", "scores", "sums", "reference_score"):
        expected = torch.stack([getattr(one, what) for one in alone]).mean(0)
        assert_near(getattr(result, what), expected, 1e-10, what)
    assert_near(result.values, nni.IntegratedGradients(6, baselines)(model, x), 1e-10)
    assert result.pictures(0.5, x).shape == (3, *x.shape)
    assert_near(result.pictures(0.5, x)[1], 0.25 + 0.5 * x, 1e-12)
    *_, made = traced(nni.IntegratedGradients(6, baselines), model, x)
    assert result.passes == made.passes


def test_errors_name_the_method_that_the_user_knows():
    model, x = build(NETS["residual"])
    with pytest.raises(ValueError, match=r"^IntegratedGradients: target must be"):
        traced(TracedPath(), model, x, target=99)
