"""The bounded cache keeps the values used last, and never exceeds its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from petfleet._util.cache import BoundedCache

MAX_ENTRIES, MAX_BYTES = 6, 100


def memory() -> BoundedCache[str, object]:
    return BoundedCache(MAX_ENTRIES, MAX_BYTES)


def test_remembers() -> None:
    """A cached value is found; another key is not."""
    known = memory()
    value = object()
    known.put("a", value, 10)
    assert known.get("a") is value
    assert known.get("b") is None
    assert len(known) == 1


def test_the_last_value_counts() -> None:
    """A key put again has its new value, also if the older one has aged meanwhile."""
    known = memory()
    known.put("a", 1, 1)
    for key in "bcd":  # the bound of one generation is 3
        known.put(key, 0, 1)
    known.put("a", 2, 1)
    assert known.get("a") == 2
    assert len(known) == 4


def test_forgets_what_was_not_used() -> None:
    """An entry that is not used is gone after as many new ones as the memory holds."""
    known = memory()
    for number in range(100):
        known.put(str(number), number, 1)
        assert len(known) <= MAX_ENTRIES
    assert known.get("0") is None
    assert known.get("99") == 99


def test_keeps_what_is_used() -> None:
    """An entry that is used again and again outlives any number of others."""
    known = memory()
    known.put("hot", "value", 1)
    for number in range(100):
        known.put(str(number), number, 1)
        assert known.get("hot") == "value"


def test_bounded_in_bytes() -> None:
    """Large entries push others out long before the number of entries would."""
    known = memory()
    for key in "abcdef":
        known.put(key, key, 40)
    assert len(known) == 2
    assert known.get("f") == "f"


def test_replacing_does_not_add_up() -> None:
    """Putting one key many times takes the room of one."""
    known = memory()
    known.put("a", 1, 10)
    for number in range(100):
        known.put("b", number, 10)
    assert known.get("a") == 1
    assert known.get("b") == 99


def test_too_large_to_remember() -> None:
    """A value larger than half of the cache is not kept, and an older value of its key is dropped."""
    known = memory()
    known.put("a", 1, 1)
    known.put("b", 2, 1)
    known.put("a", 3, MAX_BYTES // 2 + 1)
    assert known.get("a") is None
    assert known.get("b") == 2
    known.put("a", 3, MAX_BYTES // 2)
    assert known.get("a") == 3


def test_forget_and_clear() -> None:
    """A forgotten key is not known, whatever its age; a cleared memory knows nothing and takes new entries."""
    known = memory()
    for key in "abcd":
        known.put(key, key, 1)
    for key in "ad?":
        known.forget(key)
    assert [known.get(key) for key in "abcd"] == [None, "b", "c", None]
    known.clear()
    assert len(known) == 0
    assert known.get("b") is None
    known.put("b", 2, 1)
    assert known.get("b") == 2


def test_all_at_once() -> None:
    """Of many keys each is known or not as it is alone; one that only the older generation holds is in use again."""
    known = memory()
    for key in "abcd":  # a, b and c are the older generation now
        known.put(key, key.upper(), 1)
    assert known.get_all(["d", "b", "?", "a", "d", "b"]) == ["D", "B", None, "A", "D", "B"]
    assert known.get_all([]) == []
    for number in range(2):
        known.put(str(number), number, 1)
    assert [known.get(key) for key in "abc"] == ["A", "B", None]


KEYS = st.sampled_from("abcdefgh")
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.integers(0, 60)),
    st.tuples(st.just("get"), KEYS, st.just(0)),
    st.tuples(st.just("all"), KEYS, st.just(0)),
    st.tuples(st.just("forget"), KEYS, st.just(0)),
)


@given(st.lists(STEPS, max_size=60))
def test_never_stale_and_never_too_large(steps: list[tuple[str, str, int]]) -> None:
    """After any calls each key has its last value or none, and both bounds hold."""
    known = memory()
    last: dict[str, tuple[int, int]] = {}
    for number, (step, key, size) in enumerate(steps):
        if step == "put":
            known.put(key, number, size)
            last[key] = (number, size)
        elif step == "get":
            assert known.get(key) in (None, last.get(key, (None, 0))[0])
        elif step == "all":
            for name, value in zip("abcdefgh" + key, known.get_all("abcdefgh" + key), strict=True):
                assert value in (None, last.get(name, (None, 0))[0])
        else:
            known.forget(key)
            last.pop(key, None)
        # Looked at from outside: reading through get() would itself move entries.
        held = known._old | known._young
        assert len(held) == len(known) <= MAX_ENTRIES
        assert all(last[key] == entry for key, entry in held.items())
        assert sum(size for generation in (known._old, known._young) for _, size in generation.values()) <= MAX_BYTES
