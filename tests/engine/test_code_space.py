"""Principal directions of a generator, against the singular vectors of a linear one."""

import pytest
import torch

from nni_widgets.engine.code_space import code_space

torch.manual_seed(0)
WEIGHTS = torch.randn(30, 6, dtype=torch.float64) * torch.tensor([5.0, 4, 3, 2, 1, 0.5])
CODES = torch.randn(64, 6, dtype=torch.float64)
SKEWED = CODES @ torch.randn(6, 6, dtype=torch.float64) + 2


def linear(z):
    return (z @ WEIGHTS.T).reshape(-1, 1, 5, 6)


def test_a_linear_generator_has_its_singular_vectors_as_directions():
    space = code_space(linear, CODES, count=4)
    _, values, vectors = torch.linalg.svd(WEIGHTS, full_matrices=False)
    torch.testing.assert_close(space.shares, (values**2 / (values**2).sum())[:4])
    torch.testing.assert_close((space.directions @ vectors[:4].T).abs(), torch.eye(4).double())


def test_directions_point_to_where_their_largest_entry_is_positive():
    space = code_space(linear, CODES)
    largest = space.directions.abs().argmax(1)
    assert (space.directions.gather(1, largest[:, None]) > 0).all()
    assert len(space.directions) == 6, "not more than there are"


@pytest.mark.parametrize(("codes", "standard"), [(CODES, True), (SKEWED, False)])
def test_a_walk_reaches_its_coordinates_and_no_other_changes(codes, standard):
    space = code_space(linear, codes, standard=standard)
    z = codes[:3]
    before, after = space.coordinates(z), space.coordinates(space.moved(z, {1: 2.5, 4: -1.0}))
    torch.testing.assert_close(after[:, 1], torch.full((3,), 2.5).double())
    torch.testing.assert_close(after[:, 4], torch.full((3,), -1.0).double())
    others = [0, 2, 3, 5]
    torch.testing.assert_close(after[:, others], before[:, others])
    assert torch.equal(space.moved(z, {}), z)


def test_coordinates_are_measured_in_standard_deviations():
    spread = code_space(linear, SKEWED, standard=False).coordinates(SKEWED)
    torch.testing.assert_close(spread.mean(0), torch.zeros(6).double(), atol=1e-8, rtol=0)
    torch.testing.assert_close(spread.T.cov(), torch.eye(6).double())


def test_a_nonlinear_generator_is_averaged_over_codes():
    def squares(z):
        return z.square()

    space = code_space(squares, torch.tensor([[3.0, 1.0], [3.0, -1.0]]).double(), count=1)
    torch.testing.assert_close(space.directions.abs(), torch.tensor([[1.0, 0.0]]).double())


def test_the_generator_is_left_alone():
    generator = torch.nn.Linear(4, 9)
    code_space(generator, torch.randn(20, 4))
    assert all(weight.grad is None for weight in generator.parameters())


def test_a_code_of_one_number():
    codes = 2 + 3 * CODES[:, :1]
    space = code_space(lambda z: z * WEIGHTS[:, 0], codes, standard=False)
    torch.testing.assert_close(space.directions, codes.std(0)[None])
    torch.testing.assert_close(space.coordinates(codes).std(), torch.tensor(1.0).double())


def test_pictures_that_never_change_have_no_shares():
    space = code_space(lambda z: torch.ones(len(z), 1, 5, 6).double(), CODES)
    assert torch.equal(space.shares, torch.zeros(6).double())
    assert bool(space.directions.isfinite().all())
