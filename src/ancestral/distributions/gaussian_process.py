r"""Gaussian processes at given inputs, :math:`N(m(X), k(X, X) + \sigma^2 I)`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.core.errors import ParameterError, ShapeError, SupportError, VariableError
from ancestral.distributions.constraints import check, nonnegative
from ancestral.distributions.covariance import solve, times
from ancestral.distributions.kernels import RBF, Kernel, Matern
from ancestral.distributions.law import Law, Params
from ancestral.distributions.multivariate_normal import MultivariateNormal
from ancestral.distributions.numbers import as_constant


class GaussianProcess(MultivariateNormal):
    r"""The law of a Gaussian process at N inputs X: a multivariate normal law with mean
    :math:`m(X)` and covariance :math:`k(X, X) + \sigma^2 I`.

    Its log density is the marginal likelihood, which trains the ``nn.Parameter`` in kernel, mean
    and noise. ``condition`` gives the process after observations.

    No jitter is added: the noise variance is what you say. Of values without noise the covariance
    of near inputs has no factor in floating point: say 1e-6 then, and it is part of the law.

    Args:
        var: Name of its variable.
        cond_var: Names of its conditions: the inputs, if they are one.
        name: How it prints.
        features_shape: Event shape of a value, ``(N,)``; found from constant inputs.
        kernel: The covariance function k, a :class:`~ancestral.distributions.kernels.Kernel` or
            another module of two sets of inputs.
        inputs: X, shape ``(N, D)``: a tensor, or the name of a condition, ``(rows, N, D)``.
        noise_variance: :math:`\sigma^2 \ge 0`: a number, a tensor or an ``nn.Parameter``.
        mean: The mean function m of inputs, ``(*rows, N, D)`` to ``(*rows, N)``, or a number.

    Raises:
        ParameterError: If the kernel, the inputs or the noise variance are missing.
        ShapeError: If inputs have no axis for their entries.
        SupportError: If a covariance is not positive definite.

    Source: Rasmussen, Williams, Gaussian Processes for Machine Learning, 2006, eq. 2.22 to 2.30.

    Example:
        >>> from ancestral.distributions.kernels import RBF
        >>> p = GaussianProcess(kernel=RBF(lengthscale=1.0), inputs=torch.zeros(1, 1),
        ...                     noise_variance=1.0)
        >>> p.get_log_prob({"x": torch.zeros(1, 1)})
        tensor([-1.2655])
        >>> after = p.condition(torch.zeros(1, 1), torch.tensor([2.0]), at=torch.zeros(1, 1))
        >>> after.sample_mean()
        tensor([[1.0000]])
    """

    composite = True
    noise_variance: Tensor
    inputs: Tensor
    kernel: Callable[[Tensor, Tensor], Tensor]

    def __init__(
        self,
        var: str | Iterable[str] | None = None,
        cond_var: str | Iterable[str] = (),
        name: str = "p",
        features_shape: Sequence[int] | None = None,
        *,
        kernel: Kernel | Callable[[Tensor, Tensor], Tensor] | None = None,
        inputs: Tensor | str | None = None,
        noise_variance: float | Tensor | None = None,
        mean: Callable[[Tensor], Tensor] | float = 0.0,
    ) -> None:
        if features_shape is None and isinstance(inputs, Tensor):
            features_shape = tuple(inputs.shape[:-1])
        Law.__init__(self, var, cond_var, name, features_shape, None, {})
        missing = {"kernel": kernel, "inputs": inputs, "noise_variance": noise_variance}
        if told := [key for key, value in missing.items() if value is None]:
            raise ParameterError(
                f"{self.prob_text}: a Gaussian process needs {' and '.join(told)}, e.g. "
                "kernel=RBF(lengthscale=1.0), inputs=x, noise_variance=0.01."
            )
        assert kernel is not None
        self.kernel, self.mean_function = kernel, mean
        self.keep("noise_variance", noise_variance)
        self.inputs_name = inputs if isinstance(inputs, str) else None
        if self.inputs_name is None:
            self.keep("inputs", inputs)
            self._check_inputs(self.inputs)
        elif self.inputs_name not in self.cond_var:
            raise VariableError(
                f"{self.prob_text}: inputs={inputs!r} names a variable that is not in "
                f"cond_var={self.cond_var}. Add it to cond_var."
            )

    def keep(self, key: str, value: Any) -> None:
        """A tensor of the process: trained, or constant."""
        if isinstance(value, nn.Parameter):
            self.register_parameter(key, value)
        else:
            kept = as_constant(f"{self.prob_text}: {key}", torch.as_tensor(value))
            self.register_buffer(key, kept)
        if key == "noise_variance":
            check(nonnegative, getattr(self, key), f"{self.prob_text}: {key}")

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Two processes at two inputs."""
        x = torch.tensor([[0.1, -0.4], [0.9, 0.3]], dtype=torch.float64)
        return [
            {"kernel": RBF(lengthscale=0.8), "inputs": x, "noise_variance": 0.3},
            {
                "kernel": Matern(nu=1.5, lengthscale=0.5, variance=2.0),
                "inputs": x,
                "noise_variance": nn.Parameter(torch.tensor(0.1)),
                "mean": 0.7,
            },
        ]

    def _check_inputs(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise ShapeError(
                f"{self.prob_text}: inputs of shape {tuple(x.shape)} need an axis for the entries "
                "of each: (N, D), for numbers inputs[:, None]."
            )

    def forward(self, **conditions: Tensor) -> Params:
        """Mean and Cholesky factor at the inputs."""
        x = self.inputs if self.inputs_name is None else conditions[self.inputs_name]
        self._check_inputs(x)
        loc, covariance = self.moments_at(x)
        return {"loc": loc, "scale_tril": self.factor_of(covariance, self.noise_variance)}

    def moments_at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the process, without noise, at inputs ``(*rows, N, D)``."""
        return self.mean_at(x), self.kernel(x, x)

    def mean_at(self, x: Tensor) -> Tensor:
        """The mean function, shape ``(*rows, N)``."""
        if callable(self.mean_function):
            return self.mean_function(x)
        return torch.full_like(x[..., 0], self.mean_function)

    def factor_of(self, covariance: Tensor, noise_variance: Tensor) -> Tensor:
        """The Cholesky factor of a covariance with noise."""
        one = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
        noisy = covariance + noise_variance * one
        if torch.compiler.is_compiling():
            return torch.linalg.cholesky(noisy)
        try:
            return torch.linalg.cholesky(noisy)
        except torch.linalg.LinAlgError as error:
            raise SupportError(
                f"{self.prob_text}: the covariance of its inputs, with a noise variance of "
                f"{float(noise_variance.min()):g}, is not positive definite. Inputs may be equal "
                "or nearly so: give a larger noise_variance, or double precision."
            ) from error

    def condition(
        self,
        x: Tensor,
        y: Tensor,
        *,
        at: Tensor | str,
        noise_variance: float | Tensor | None = None,
        name: str | None = None,
    ) -> "ConditionedProcess":
        """The process after observations, at new inputs; weights stay shared with this law.

        Args:
            x: Inputs of the observations, shape ``(N, D)``.
            y: Observations, with the noise of this law, shape ``(N,)``.
            at: New inputs, shape ``(M, D)``, or the name of a condition.
            noise_variance: Of the new values; that of this law (new observations) if not given,
                and a small number for values without noise.
            name: How it prints; as this law, if not given.
        """
        return ConditionedProcess(self, x, y, at, noise_variance, name)


class ConditionedProcess(GaussianProcess):
    r"""A Gaussian process given observations, with :math:`L L^\top = k(X, X) + \sigma^2 I` and
    :math:`V = L^{-1}k(X, X_*)`: mean :math:`m(X_*) + V^\top L^{-1}(y - m(X))`, covariance
    :math:`k(X_*, X_*) - V^\top V`.

    Args:
        process: The process before; one that is conditioned already is conditioned further.
        x: Inputs of the observations, shape ``(N, D)``.
        y: Observations, shape ``(N,)``.
        at: New inputs, shape ``(M, D)``, or the name of a condition.
        noise_variance: Of the new values; that of the process if not given.
        name: How it prints; as the process, if not given.
    """

    observed_inputs: Tensor
    observations: Tensor
    process: GaussianProcess

    def __init__(
        self,
        process: GaussianProcess,
        x: Tensor,
        y: Tensor,
        at: Tensor | str,
        noise_variance: float | Tensor | None = None,
        name: str | None = None,
    ) -> None:
        given = process.noise_variance if noise_variance is None else noise_variance
        super().__init__(
            process.var,
            [at] if isinstance(at, str) else (),
            name or process.name,
            None,
            kernel=process.kernel,
            inputs=at,
            noise_variance=given,
            mean=process.mean_function,
        )
        self.process = process
        self._check_inputs(x)
        if x.shape[:-1] != y.shape:
            raise ShapeError(
                f"{self.prob_text}: {tuple(y.shape)} observations at {tuple(x.shape)} inputs. "
                "Give y with one number for each row of x."
            )
        self.keep("observed_inputs", x)
        self.keep("observations", y)

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """A process after one observation, at two inputs, of which one is near to it."""
        seen, at = torch.tensor([[0.3, 0.1]]), torch.tensor([[0.2, 0.1], [-0.8, 0.5]])
        return [
            {
                "process": GaussianProcess(**e),
                "x": seen.double(),
                "y": torch.tensor([y]).double(),
                "at": at.double(),
            }
            for e, y in zip(GaussianProcess.examples(), (0.4, -1.1), strict=True)
        ]

    def moments_at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance given the observations."""
        given, count = self.observed_inputs, len(self.observations)
        every = torch.cat([given.expand(*x.shape[:-2], *given.shape), x], -2)
        loc, covariance = self.process.moments_at(every)
        lower = self.factor_of(covariance[..., :count, :count], self.process.noise_variance)
        cross = torch.linalg.solve_triangular(lower, covariance[..., :count, count:], upper=False)
        rest = solve(lower, self.observations - loc[..., :count])
        mean = loc[..., count:] + times(cross.mT, rest)
        return mean, covariance[..., count:, count:] - cross.mT @ cross
