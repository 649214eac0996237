"""What a page has not read: bounded by number and by bytes, and everything anew beyond."""

from mesh.control.inbox import MAX_BEHIND, MAX_BEHIND_BYTES, Inbox


async def test_messages_come_in_their_order() -> None:
    """One after the other."""
    inbox = Inbox()
    for number in range(5):
        inbox.put(("event", str(number)))
    assert [await inbox.get() for _ in range(5)] == [("event", str(number)) for number in range(5)]


async def test_too_many_are_everything_anew() -> None:
    """As once, and what comes after it comes after it."""
    inbox = Inbox()
    for number in range(MAX_BEHIND + 1):
        inbox.put(("event", str(number)))
    inbox.put(("event", "later"))
    assert [await inbox.get() for _ in range(2)] == [None, ("event", "later")]


async def test_too_large_ones_are_everything_anew_too() -> None:
    """Few of them, but more bytes than are kept for a page; read ones do not count any longer."""
    inbox, part = Inbox(), "x" * (MAX_BEHIND_BYTES // 4)
    for _ in range(20):
        inbox.put(("change", part))
        assert await inbox.get() == ("change", part)
    for _ in range(5):
        inbox.put(("change", part))
    assert await inbox.get() is None
    inbox.put(("change", part))
    assert await inbox.get() == ("change", part)
    inbox.put(("change", "x" * (MAX_BEHIND_BYTES + 1)))
    assert await inbox.get() is None
