"""The generative adversarial network as a ready-made model."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ancestral.distributions import Distribution, EmpiricalDistribution
from ancestral.models.model import Model
from ancestral.objectives.jensen_shannon import AdversarialJensenShannon


class GAN(Model):
    r"""Trains a discriminator d and a generator p in turn, each on draws of its own.

    .. math::
        \max_d\; E_{p_{data}(x)}[\log \sigma(d(x))] + E_{p(x)}[\log (1 - \sigma(d(x)))], \qquad
        \min_p\; -E_{p_{data}(x)}[\log (1 - \sigma(d(x)))] - E_{p(x)}[\log \sigma(d(x))]

    Args:
        p: The generator, a law without conditions.
        discriminator: A ``Function`` or network that returns logits, a Bernoulli law, or a
            deterministic law that returns a probability.
        optimizer, optimizer_params: Of the generator.
        d_optimizer, d_optimizer_params: Of the discriminator.
        clip_grad_norm, clip_grad_value, retain_graph, compile: As in :class:`Model`.

    Source: Goodfellow et al., Generative Adversarial Networks (2014).

    Example:
        >>> from ancestral.distributions import Implicit
        >>> p = Implicit(torch.nn.Linear(3, 2), var=["x"], noise=[3])
        >>> model = GAN(p, torch.nn.Linear(2, 1))
        >>> print(model.loss)
        JS_d[p_{data}(x) || p(x)]
        >>> loss, d_loss = model.train({"x": torch.randn(8, 2)})
    """

    def __init__(
        self,
        p: Distribution,
        discriminator: Any,
        optimizer: Callable[..., torch.optim.Optimizer] | torch.optim.Optimizer = torch.optim.Adam,
        optimizer_params: Mapping[str, Any] | None = None,
        d_optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        d_optimizer_params: Mapping[str, Any] | None = None,
        clip_grad_norm: float | None = None,
        clip_grad_value: float | None = None,
        retain_graph: bool = False,
        compile: bool | str = False,
    ) -> None:
        loss = AdversarialJensenShannon(
            EmpiricalDistribution(p.var),
            p,
            discriminator,
            optimizer=d_optimizer,
            optimizer_params=d_optimizer_params,
        )
        super().__init__(
            loss=loss,
            distributions=[p],
            optimizer=optimizer,
            optimizer_params=optimizer_params,
            clip_grad_norm=clip_grad_norm,
            clip_grad_value=clip_grad_value,
            retain_graph=retain_graph,
            compile=compile,
        )

    def train(
        self,
        train_x_dict: Mapping[str, Tensor] | None = None,
        adversarial_loss: bool = True,
        **options: Any,
    ) -> Any:
        """One step of the discriminator, then one of the generator, on one batch.

        Args:
            train_x_dict: The batch, as for :meth:`Model.train`.
            adversarial_loss: Whether the discriminator makes its step.
            options: Those of :meth:`Model.train`.

        Returns:
            The generator's loss and the discriminator's, each before its step, shape ``()``; the
            first alone if the discriminator makes none.
        """
        self._ready()
        given = self._given(train_x_dict, options)
        d_loss = -next(iter(self._play(0, given).values())) if adversarial_loss else None
        (loss,) = self._play(1, given).values()
        return loss if d_loss is None else (loss, d_loss)

    def test(
        self,
        test_x_dict: Mapping[str, Tensor] | None = None,
        adversarial_loss: bool = True,
        **options: Any,
    ) -> Any:
        """Both losses on one batch, in eval mode and without gradient.

        Args:
            test_x_dict: The batch, as for :meth:`Model.test`.
            adversarial_loss: Whether the discriminator's is returned too.
            options: Those of :meth:`Model.test`.
        """
        loss = super().test(test_x_dict, **options)
        if not adversarial_loss:
            return loss
        function = self._steps.of(self._turns[0])
        return loss, self._evaluate(function, test_x_dict, options)
