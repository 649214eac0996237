"""Docker's stamped lines: what is new, and from when to ask; needs no engine."""

from mesh.docker.log_lines import STAMP_LENGTH, LogLine, seconds, stamp, stamped

FIRST, SECOND = "2026-11-21T10:00:00.000000001Z", "2026-11-21T10:00:00.000000002Z"
WRITTEN = [f"{FIRST} one two", f"{SECOND} ", "no stamp at all"]


def test_lines_keep_their_text_and_what_has_no_stamp_is_left_out() -> None:
    assert stamped("app", WRITTEN, "") == [LogLine(FIRST, "app", "one two"), LogLine(SECOND, "app", "")]


def test_only_what_is_later_by_a_nanosecond_is_new() -> None:
    assert [line.at for line in stamped("app", WRITTEN, FIRST)] == [SECOND]


def test_the_engine_is_asked_from_a_little_before() -> None:
    assert 1795255199.99 < seconds(FIRST) < 1795255200.0


def test_a_moment_of_ours_compares_with_dockers_stamps() -> None:
    assert FIRST < stamp(1795255200.5) < "2026-11-21T10:00:01.000000000Z"
    assert len(stamp(0.0)) == STAMP_LENGTH
