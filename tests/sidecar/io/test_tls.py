"""Contexts of files: made once, made anew when a file changes; which names a certificate is for."""

import asyncio
import shutil
from pathlib import Path

import pytest

from sidecar.io.tls import MAX_CONTEXTS, RECHECK_S, Contexts, Files, fits
from tests.fakes.clock import FakeClock

TLS = Path(__file__).parent.parent / "tls"


def files(
    ca: Path | str, certificate: Path | str = "", key: Path | str = "", *, by_name: bool = True
) -> Files:
    return Files(str(ca), str(certificate), str(key), "", True, by_name)


@pytest.mark.parametrize(
    ("wanted", "found", "fit"),
    [
        ("api.example.com", ["API.example.com"], True),
        ("a.example.org", ["*.example.org"], True),
        ("a.b.example.org", ["*.example.org"], False),
        ("example.org", ["*.example.org"], False),
        ("spiffe://example/api", ["spiffe://example/api"], True),
        ("spiffe://example/API", ["spiffe://example/api"], False),
        ("::1", ["0:0:0:0:0:0:0:1", "::1"], True),
        ("10.0.0.1", ["*.0.0.1"], False),
        ("api.example.com", [], False),
    ],
)
def test_which_names_fit(wanted: str, found: list[str], fit: bool) -> None:
    """A pattern is one label, and never an address; of a URI every letter counts."""
    assert fits(wanted, found) is fit


async def test_a_context_is_made_once_until_its_file_changes(tmp_path: Path) -> None:
    """Connections that come together share the work; a rotation is seen after a while."""
    clock = FakeClock()
    contexts = Contexts(clock)
    ca = tmp_path / "ca.pem"
    shutil.copy(TLS / "ca.pem", ca)
    first, second = await asyncio.gather(contexts.get(files(ca)), contexts.get(files(ca)))
    assert first is second
    clock.advance(RECHECK_S + 1)
    assert await contexts.get(files(ca)) is first
    ca.write_text((TLS / "other.pem").read_text() + "\n")
    assert await contexts.get(files(ca)) is first
    clock.advance(RECHECK_S + 1)
    changed = await contexts.get(files(ca))
    assert changed is not first
    assert changed.get_ca_certs()[0]["subject"] != first.get_ca_certs()[0]["subject"]


async def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """One that is not there, is none, or is somebody else's key; a password is asked of nobody."""
    contexts = Contexts(FakeClock())
    with pytest.raises(OSError, match=r"^/none/ca.pem: No such file"):
        await contexts.get(files("/none/ca.pem"))
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("-----BEGIN NOTHING-----\n")
    with pytest.raises(OSError, match=r"wrong.pem: cannot be used: "):
        await contexts.get(files(wrong))
    with pytest.raises(OSError, match=r"client.pem and .*server.key: cannot be used: KEY_VALUES_MISMATCH"):
        await contexts.get(files(TLS / "ca.pem", TLS / "client.pem", TLS / "server.key"))


async def test_contexts_are_bounded(tmp_path: Path) -> None:
    """However often documents change."""
    contexts = Contexts(FakeClock())
    for number in range(MAX_CONTEXTS + 5):
        ca = tmp_path / f"{number}.pem"
        shutil.copy(TLS / "ca.pem", ca)
        await contexts.get(files(ca))
    assert len(contexts._made) == MAX_CONTEXTS
