"""How long a worker waits for a lock that others hold, and when it goes; times are told, never measured."""

from __future__ import annotations

import pytest

from petfleet.spin import LONGEST_PAUSE, Spin

NOW = 1024.0


def test_the_first_pause_is_the_longest() -> None:
    """Who has only just come lets those who were there before have the next tries."""
    assert LONGEST_PAUSE == 0.001
    assert Spin("sign", NOW).pause("sign", NOW) == LONGEST_PAUSE


def test_who_has_waited_longer_looks_more_often() -> None:
    """The pause shrinks by a fifth of what was waited, down to a tenth of a millisecond, whatever signs are seen."""
    spin = Spin(0, NOW)
    waited = [0.0, 0.001, 0.0025, 0.004, 0.0045, 0.005, 0.05, 1.0, 100.0]
    pauses = [spin.pause(number, NOW + seconds) for number, seconds in enumerate(waited)]
    assert pauses == pytest.approx([0.001, 0.0008, 0.0005, 0.0002, 0.0001, 0.0001, 0.0001, 0.0001, 0.0001], abs=1e-9)


def test_gives_up_when_the_holder_seems_stuck() -> None:
    """A tenth of a second without a new sign ends it, and it does not begin anew by itself."""
    spin = Spin("sign", NOW)
    assert spin.pause("sign", NOW + 0.0999) is not None
    assert spin.pause("sign", NOW + 0.1) is None
    assert spin.pause("sign", NOW + 0.2) is None


def test_each_new_sign_renews_the_patience() -> None:
    """It is the time since the last new sign that counts, and a sign seen before is not new while it lasts."""
    spin = Spin(1, NOW)
    assert spin.pause(2, NOW + 0.0999) is not None
    assert spin.pause(2, NOW + 0.1998) is not None
    assert spin.pause(2, NOW + 0.2) is None
    assert spin.pause(1, NOW + 5) is not None
    assert spin.pause(1, NOW + 5.0999) is not None
    assert spin.pause(1, NOW + 5.1) is None


def test_which_calls_still_wait_is_looked_at_every_five_milliseconds() -> None:
    """The first time five milliseconds after the first refusal, then five after each look."""
    spin = Spin("sign", NOW)
    times = [0.0, 0.0049, 0.0051, 0.0052, 0.01, 0.0102, 1.0, 1.0049, 1.0051]
    looks = [spin.is_time_to_look(NOW + seconds) for seconds in times]
    assert looks == [False, False, True, False, False, True, True, False, True]
