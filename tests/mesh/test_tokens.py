"""The tokens of a run: one for its operators, others made from it, and the file that it stands in."""

import os
import stat
from pathlib import Path

import pytest

from mesh.errors import MeshError
from mesh.tokens import Scope, Tokens, authorization, keep_token, kept_token


def test_each_door_has_its_own() -> None:
    """Always the same of one run, never of two; none contains another."""
    tokens = Tokens("of-the-operators")
    found = [tokens.of(scope) for scope in Scope]
    assert found == [Tokens("of-the-operators").of(scope) for scope in Scope]
    assert found[0] == "of-the-operators"
    assert len(set(found)) == len(Scope)
    assert all(len(each) == 32 for each in found[1:])
    assert not set(found) & {Tokens("of-the-operatorz").of(scope) for scope in Scope}
    assert Tokens.fresh().control != Tokens.fresh().control
    assert len(Tokens.fresh().control) == 32


def test_they_are_not_shown() -> None:
    """A plan in a log shows none."""
    assert "of-the-operators" not in repr(Tokens("of-the-operators"))


def test_programs_are_told_what_they_need() -> None:
    """Somebody else's registry is told nothing of ours, and a service only how to send spans."""
    tokens = Tokens("of-the-operators")
    spans = {"OTEL_EXPORTER_OTLP_TRACES_HEADERS": f"authorization=Bearer%20{tokens.of(Scope.SPANS)}"}
    admin = {"SIDECAR_ADMIN_TOKEN": tokens.of(Scope.ADMIN)}
    registry = {"SIDECAR_REGISTRY_TOKEN": tokens.of(Scope.REGISTRY)}
    assert tokens.spans_environment() == spans
    assert tokens.sidecar_environment(own_registry=True) == {**spans, **admin, **registry}
    assert tokens.sidecar_environment(own_registry=False) == {**spans, **admin}


def test_the_link_has_it_in_the_fragment() -> None:
    """And in nothing that a browser sends."""
    link = Tokens("a+b/c&d").link("http://127.0.0.1:4200")
    assert link == "http://127.0.0.1:4200/#token=a%2Bb%2Fc%26d"
    assert authorization("secret") == {"Authorization": "Bearer secret"}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_file_is_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    """Whatever the umask, and also in the place of one that was not."""
    path = tmp_path / "token"
    path.write_text("earlier")
    path.chmod(0o666)
    before = os.umask(umask)
    try:
        keep_token(path, "secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kept_token(path) == "secret"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """What lies at its other end is somebody else's."""
    other, path = tmp_path / "other", tmp_path / "token"
    other.write_text("theirs")
    path.symlink_to(other)
    keep_token(path, "secret")
    assert other.read_text() == "theirs"
    assert not path.is_symlink()
    assert kept_token(path) == "secret"


def test_what_cannot_be_written_or_read_is_one_line(tmp_path: Path) -> None:
    """With the path."""
    path = tmp_path / "none" / "token"
    with pytest.raises(MeshError, match=f"cannot write the token to {path}: No such file or directory"):
        keep_token(path, "secret")
    with pytest.raises(MeshError, match=f"the token of the mesh: {path}: cannot be read"):
        kept_token(path)
    (tmp_path / "token").mkdir()
    with pytest.raises(MeshError, match="cannot write the token"):
        keep_token(tmp_path / "token", "secret")
