"""The notebook's VAE takes the same steps as the loop written by hand; on MNIST it learns."""

import os

import pytest
import torch

from ancestral.data import digits, mnist
from benchmarks.mnist_vae import agreement, held_out_loss

needs_data = pytest.mark.skipif(
    "ANCESTRAL_DATA" not in os.environ, reason="ANCESTRAL_DATA names no folder with MNIST"
)


def test_the_first_steps_on_digits():
    # the whole of 200 steps is a slow test: the networks are those of the notebook
    assert agreement(digits("grey").train["x"], steps=40) < 1e-8


@pytest.mark.slow
def test_the_first_200_steps_on_digits():
    assert agreement(digits("grey").train["x"], steps=200) < 1e-8


@pytest.mark.slow
@needs_data
def test_the_first_200_steps_on_mnist():
    assert agreement(mnist(pixels="grey").train["x"], steps=200) < 1e-8


@pytest.mark.slow
@needs_data
def test_two_epochs_on_mnist_are_under_way():
    """After two epochs a loop written by hand stands at 120.5 nats; ten give 103."""
    data = mnist(pixels="grey")
    train = torch.cat([data.train["x"], data.validation["x"]])
    assert held_out_loss(train, data.test["x"], epochs=2, seed=0) < 125
