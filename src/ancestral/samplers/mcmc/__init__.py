"""Markov chain Monte Carlo: steps that leave a density as it is, exactly or nearly."""
