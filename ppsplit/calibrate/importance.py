"""Where errors matter: a linear guess of the logarithm of what the gradients say, from the components there and around.

What an error of the components costs at a position, the energy of the gradients by them, is known on calibration photos
alone, so it is learnt, by ridge regression.
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np

from ppsplit.codec.importance import SCALES, scaled_means, signs_and_sizes

COMPONENTS = 48  # that are looked at, and whose errors count
POSITIONS = 200_000  # in all
FLOOR = 0.03  # of the mean energy: what nothing counts as
RIDGE = 100.0  # in samples of an average feature
EXPONENT = 0.35  # a guess is not the truth: high-rate theory would say 1, fewest bytes on other photos do not
LEVELS = 32  # of the guess, in which it is compared with the truth
SEED = 31


def energies_of(gradients: Sequence[np.ndarray], inverse: np.ndarray) -> List[np.ndarray]:
    """Squared length of the gradient by the first components at each position, float32 [H, W] a photo.

    Args:
        gradients: by the tensor, float32 [C, H, W] of each photo.
        inverse: of the transform to components, [C, K].
    """
    chain = np.ascontiguousarray(inverse[:, :COMPONENTS].T, np.float32)
    found = []
    for gradient in gradients:
        by_components = chain @ gradient.reshape(len(inverse), -1)
        found.append(np.einsum("ki,ki->i", by_components, by_components).reshape(gradient.shape[1:]))
    return found


def fit_worth(components: Sequence[np.ndarray], energies: Sequence[np.ndarray]) -> np.ndarray:
    """`codec.importance.worth_of`'s weights, float32 [SCALES, 2 F + 1].

    Args:
        components: float32 [K, H, W] of each photo, in units of the middle quality's step.
        energies: float32 [H, W] of each photo.
    """
    count = min(COMPONENTS, len(components[0]))
    rows, targets = _samples(components, energies, count)
    mean_energy = max(float(targets.mean()), 1e-30)
    wanted = np.log(targets / mean_energy + FLOOR)
    centre, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    rows -= centre
    rows /= spread
    normal = rows.T @ rows + RIDGE * np.eye(rows.shape[1])
    slopes = np.linalg.solve(normal, rows.T @ (wanted - wanted.mean()))
    gain, offset = _line(rows @ slopes, targets / mean_energy)
    weights = (EXPONENT * gain * slopes / spread).reshape(SCALES, 2 * count)
    bias = EXPONENT * offset - float((weights.ravel() * centre).sum())
    column = np.zeros((SCALES, 1))
    column[0] = bias
    return np.ascontiguousarray(np.concatenate([weights, column], axis=1), np.float32)


def _samples(
    components: Sequence[np.ndarray], energies: Sequence[np.ndarray], count: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Features [N, SCALES * 2 F] and energies [N] of some positions of every photo, float64."""
    rng = np.random.default_rng(SEED)
    each = max(1, POSITIONS // len(components))
    rows, targets = [], []
    for maps, energy in zip(components, energies):
        chosen = rng.permutation(energy.size)[:each]
        features = signs_and_sizes(maps, count)
        scales = [scaled_means(features, scale).reshape(len(features), -1)[:, chosen] for scale in range(SCALES)]
        rows.append(np.concatenate(scales).T.astype(np.float64))
        targets.append(energy.ravel()[chosen].astype(np.float64))
    return np.concatenate(rows), np.concatenate(targets)


def _line(guessed: np.ndarray, energies: np.ndarray) -> Tuple[float, float]:
    """Gain and offset that turn guesses into logarithms of mean energies: the mean of a logarithm is another thing."""
    order = np.argsort(guessed, kind="stable")
    levels = [part for part in np.array_split(order, LEVELS) if len(part)]
    at = np.array([guessed[part].mean() for part in levels])
    logarithms = np.log(np.array([energies[part].mean() for part in levels]) + FLOOR / LEVELS)
    deviations = at - at.mean()
    variance = float((deviations**2).sum())
    gain = max(0.0, float((deviations * logarithms).sum()) / variance) if variance > 0 else 0.0
    return gain, float(logarithms.mean() - gain * at.mean())
