from __future__ import annotations

import numpy as np

from fathomseg.data.world.dice import Dice, bell_noise, mix, white_noise


def test_mix_gives_the_published_stream_of_splitmix64() -> None:
    """First outputs of SplitMix64 for the seed 1234567, as printed on Rosetta Code."""
    state, outputs = 1234567, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        outputs.append(mix(state))
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_equal_keys_equal_streams_and_other_keys_other_streams() -> None:
    def draw(*key: int) -> list[float]:
        dice = Dice(*key)
        return [dice.uniform() for _ in range(4)]

    assert draw(1, 2) == draw(1, 2)
    assert len({tuple(draw(*key)) for key in [(1, 2), (2, 1), (1, 3), (1,), (1, 2, 0), (-1, 2)]}) == 6


def test_draws_are_uniform() -> None:
    draws = np.array([Dice(7, k).uniform(2.0, 4.0) for k in range(4000)])
    assert 2.0 <= draws.min() < draws.max() < 4.0
    assert np.abs(np.histogram(draws, 8, (2, 4))[0] - 500).max() < 120
    assert np.abs(np.bincount([Dice(8, k).below(5) for k in range(4000)]) - 800).max() < 150


def test_noise_has_the_stated_moments_and_depends_on_the_key() -> None:
    white, bell = white_noise((200, 300), 3), bell_noise((200, 300), 3)
    assert abs(white.mean() - 0.5) < 0.01
    assert abs(white.var() - 1 / 12) < 0.003
    assert abs(bell.mean()) < 0.02
    assert abs(bell.var() - 1) < 0.03
    assert (white_noise((4, 4), 3) != white_noise((4, 4), 4)).any()
