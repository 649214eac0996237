"""Words of others on a terminal: what commands it is shown, text stays, and there is no way around it."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.plain import is_plain, plain, plain_json, plain_log

ROOT = Path(__file__).parents[2] / "mesh"

ANY = st.text(st.characters(codec=None, categories=None), max_size=40)


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ("orders-1", "orders-1"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31mred", r"\x9b31mred"),
        ("a\rb\nc\td\x00\x7f", r"a\rb\nc\td\x00\x7f"),
        (
            "evil\u202elive\u202c \u2066x\u2069 \u200e\u200f\u061c",
            r"evil\u202elive\u202c \u2066x\u2069 \u200e\u200f\u061c",
        ),
        ("line\u2028page\u2029\ufeffmark\u200b", r"line\u2028page\u2029\ufeffmark\u200b"),
        ("half \ud83d", r"half \ud83d"),
        ("ä → 東京 🙂 👩\u200d🔬 a\u200cb", "ä → 東京 🙂 👩\u200d🔬 a\u200cb"),
        ("[red]not markup[/red] \\x1b", "[red]not markup[/red] \\x1b"),
    ],
)
def test_what_commands_a_terminal_is_shown(given_: str, shown: str) -> None:
    """And letters of every script, joiners among them, stay."""
    assert plain(given_) == shown
    assert is_plain(given_) == (plain(given_) == given_)


def test_a_log_keeps_its_tabs() -> None:
    """Programs line their logs up by them."""
    assert plain_log("a\tb\x1b[0m") == "a\tb\\x1b[0m"


@given(ANY)
def test_nothing_gets_through(text: str) -> None:
    """Whatever it is: it can be written, it is one line, and once is enough."""
    shown = plain(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    shown.encode()
    assert plain(shown) == shown


@given(
    st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
)
def test_json_means_the_same(document: object) -> None:
    """Only its spelling is another one."""
    text = plain_json(json.dumps(document, indent=2, ensure_ascii=False))
    assert json.loads(text) == document
    assert plain(text.replace("\n", "")) == text.replace("\n", "")


# Who may write without `mesh.console`: it itself, what runs in other processes, and the two shows of
# `mesh up`, which are `plain` themselves (test_cli_words.py).
WRITERS = {"console.py", "detached.py", "show.py", "forkserver.py", "docker/__main__.py"}


def test_no_command_prints_by_itself() -> None:
    """One place escapes; another `sys.stdout.write` would be a way around it."""
    found = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if re.search(
            r"\bsys\.(stdout|stderr)\.(write|buffer)|(?<![.\w])print\(", path.read_text(encoding="utf-8")
        )
    }
    assert found <= WRITERS
