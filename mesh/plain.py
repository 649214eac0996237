"""Words of others on their way to a terminal: what would command it is shown instead. Pure.

Names, reasons, documents, recordings and logs come from whoever wrote them. Printed as they are, an ESC in
them moves the cursor, sets the title or types into the shell, and U+202E lets a name read as another one.
"""

import re

# C0 and DEL, C1; what breaks a line elsewhere; what turns the direction of writing; what has no width at all;
# and halves of characters, which cannot be written. Joiners stay: scripts and emoji need them.
_UNSAFE = "\\x00-\\x1f\\x7f-\\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_IN_A_LINE = re.compile(f"[{_UNSAFE}]")
_IN_A_LOG = re.compile(f"(?!\\t)[{_UNSAFE}]")
_IN_A_TEXT = re.compile(f"(?!\\n)[{_UNSAFE}]")


def plain(line: str) -> str:
    """One line; a line end within it is shown too, since what follows it would pass for a line of ours."""
    return _IN_A_LINE.sub(_shown, line)


def plain_log(line: str) -> str:
    """One line of a log, in which tabs are usual."""
    return _IN_A_LOG.sub(_shown, line)


def plain_json(text: str) -> str:
    """JSON that means the same: what is replaced can only stand inside its strings, as an escape."""
    return _IN_A_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def is_plain(text: str) -> bool:
    """Whether nothing of it would be replaced; its line ends may stay."""
    return _IN_A_TEXT.search(text) is None


def _shown(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
