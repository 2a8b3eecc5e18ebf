"""Piano rolls: where they are looked for, what is refused, what is read."""

import os

import numpy as np
import pytest
import torch
from scipy.io import savemat

from ancestral.core.errors import DataError, OptionError
from ancestral.data import piano_rolls

needs_data = pytest.mark.skipif(
    "ANCESTRAL_DATA" not in os.environ, reason="ANCESTRAL_DATA names no folder with piano rolls"
)


def write(path, keys=88, value=1):
    rows = np.empty(2, dtype=object)
    rows[0], rows[1] = np.full((3, keys), value, np.uint8), np.zeros((5, keys), np.uint8)
    savemat(path, {f"{part}data": rows[None] for part in ("train", "valid", "test")})


def test_rows_are_padded_behind_their_ends(tmp_path):
    write(tmp_path / "JSB_Chorales.mat")
    data = piano_rolls("jsb", tmp_path)
    assert data.train["x"].shape == (2, 5, 88)
    assert data.train["m"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert data.test["x"].sum() == 3 * 88
    assert data.shortened({k: v[:1] for k, v in data.test.items()})["x"].shape == (1, 3, 88)
    assert data.description.endswith("train / validation / test: 2 / 2 / 2 sequences")


def test_what_is_refused_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("ANCESTRAL_DATA", raising=False)
    with pytest.raises(DataError, match="environment variable ANCESTRAL_DATA"):
        piano_rolls()
    with pytest.raises(DataError, match=r"no JSB_Chorales\.mat in any of .*polyphonic_music"):
        piano_rolls("jsb", tmp_path)
    with pytest.raises(OptionError, match=r"did you mean 'jsb'|nottingham"):
        piano_rolls("jbs", tmp_path)
    (tmp_path / "JSB_Chorales.mat").write_bytes(b"not a file of MATLAB" * 20)
    with pytest.raises(DataError, match="damaged"):
        piano_rolls("jsb", tmp_path)
    for wrong in ({"keys": 60}, {"value": 2}):
        write(tmp_path / "JSB_Chorales.mat", **wrong)
        with pytest.raises(DataError, match="damaged"):
            piano_rolls("jsb", tmp_path)


@needs_data
def test_o24_what_is_known_of_the_chorales():
    """Nats per frame of two laws fitted by counting, 1/2 added to each count."""
    data = piano_rolls("jsb")
    train, test = data.train, data.test
    assert (train["m"].sum(), test["m"].sum()) == (13807, 4725)

    def log_prob(x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, p.log(), (-p).log1p()).sum(-1)  # (N, T)

    def share(hits: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        return (hits.sum((0, 1)) + 0.5) / (steps.sum((0, 1)) + 1.0)

    x, m = train["x"].double(), train["m"].double().unsqueeze(-1)
    alone = share(x * m, m)
    y, mask = test["x"].double(), test["m"].double()
    independent = (log_prob(y, alone) * mask).sum() / mask.sum()
    assert independent.item() == pytest.approx(-11.0602, abs=1e-4)
    both = m[:, 1:]
    after = [share(x[:, 1:] * on * both, on * both) for on in (1.0 - x[:, :-1], x[:, :-1])]
    first = log_prob(y[:, :1], alone)
    on = torch.where(y[:, :-1] > 0, after[1], after[0])
    markov = (torch.cat([first, log_prob(y[:, 1:], on)], 1) * mask).sum() / mask.sum()
    assert markov.item() == pytest.approx(-10.4693, abs=1e-4)
