"""Random distortions of training pictures: what a hand might have written instead."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nni_widgets.zoo.classifiers import Recipe

ELASTIC_NODES = 5


def augment(pictures: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Bend, turn, scale, shear, shift, thin or thicken each picture (N, 1, H, W) differently."""
    grid = _affine_grid(pictures, recipe, generator) + _elastic(pictures, recipe, generator)
    bent = F.grid_sample(pictures, grid, padding_mode="zeros", align_corners=False)
    return _restroke(bent, recipe, generator)


def _affine_grid(pictures: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    n, size = len(pictures), pictures.shape[-1]
    angle = _spread(n, math.radians(recipe.rotation_degrees), generator)
    shear = _spread(n, math.tan(math.radians(recipe.shear_degrees)), generator)
    zoom = 1 + _spread(n, recipe.scale, generator)
    zoom_x, zoom_y = (zoom * (1 + _spread(n, recipe.aspect, generator)) for _ in "xy")
    shift_x, shift_y = (_spread(n, 2 * recipe.shift_pixels / size, generator) for _ in "xy")
    cos, sin = angle.cos(), angle.sin()
    first_row = torch.stack([cos / zoom_x, (shear * cos - sin) / zoom_y, shift_x], 1)
    second_row = torch.stack([sin / zoom_x, (shear * sin + cos) / zoom_y, shift_y], 1)
    theta = torch.stack([first_row, second_row], 1)
    return F.affine_grid(theta, list(pictures.shape), align_corners=False)


def _elastic(pictures: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """A smooth field of displacements (N, H, W, 2), random at a few nodes."""
    n, size = len(pictures), pictures.shape[-1]
    nodes = torch.rand(n, 2, ELASTIC_NODES, ELASTIC_NODES, generator=generator) * 2 - 1
    field = F.interpolate(nodes, pictures.shape[-2:], mode="bicubic", align_corners=True)
    return field.permute(0, 2, 3, 1) * (2 * recipe.elastic_pixels / size)


def _restroke(pictures: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Mix each picture with its dilation (thicker strokes) or with its erosion (thinner ones)."""
    reach = recipe.thinning + recipe.thickening
    amount = torch.rand(len(pictures), 1, 1, 1, generator=generator) * reach - recipe.thinning
    thick = F.max_pool2d(pictures, 3, stride=1, padding=1)
    thin = -F.max_pool2d(-pictures, 3, stride=1, padding=1)
    return torch.lerp(pictures, torch.where(amount > 0, thick, thin), amount.abs())


def _spread(n: int, largest: float, generator: torch.Generator) -> Tensor:
    """Numbers up to ``largest`` of either sign; small ones are likelier (triangular density)."""
    return (torch.rand(n, generator=generator) - torch.rand(n, generator=generator)) * largest
