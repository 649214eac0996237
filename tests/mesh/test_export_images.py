"""Images by digest beside the tag: what the lock may say, who takes it over, and `make images`."""

from pathlib import Path

import pytest
import yaml

from mesh.errors import MeshError, UsageError
from mesh.export import images, renew
from mesh.export.compose import compose_file
from services.script import load_topology
from tests.docker.project import by_tag

ROOT = Path(__file__).parents[2]
A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def test_the_lock_is_read_as_it_is_written() -> None:
    """Sorted, with its first line of explanation."""
    digests = dict.fromkeys(images.THEIRS, A)
    text = images.lock_text(digests)
    assert images.read_lock(text, "images.lock") == digests
    assert text.splitlines()[0].startswith("# ")
    assert text.splitlines()[1:] == sorted(text.splitlines()[1:])


@pytest.mark.parametrize(
    "line", ["redis:7", f"redis:7 {A} more", "redis:7 sha256:abc", f"redis:7 {A[:-1]}G", f"redis:7 {A}0"]
)
def test_a_line_that_is_no_pin_is_refused_with_its_number(line: str) -> None:
    """A digest cut short must not become a tag alone."""
    with pytest.raises(UsageError, match=r"images\.lock:2: is not NAME:TAG sha256:"):
        images.read_lock(f"# one\n{line}\n", "images.lock")


def test_the_committed_lock_has_all_or_none() -> None:
    """After a change of a tag: make images."""
    assert set(images.DIGESTS) in (set(), set(images.THEIRS))


def test_compose_names_the_digest_beside_the_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what the lock has; the rest by its tag."""
    monkeypatch.setattr(images, "DIGESTS", {images.GRAFANA: A})
    document = yaml.safe_load(compose_file(load_topology("shop"), "shop", ROOT))
    assert document["services"]["grafana"]["image"] == f"{images.GRAFANA}@{A}"
    assert document["services"]["jaeger"]["image"] == images.JAEGER


def test_the_dockerfile_is_built_on_what_the_lock_says() -> None:
    """Else: make images."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("ARG PYTHON=")] == [
        f"ARG PYTHON={images.pinned(images.PYTHON)}"
    ]
    assert [line for line in lines if line.startswith("FROM ")] == [
        "FROM ${PYTHON} AS base",
        "FROM base AS dependencies",
        "FROM base",
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images.lock").write_text(images.lock_text({images.CONSUL: A, images.JAEGER: B}))
    (tmp_path / "Dockerfile").write_text("# base\nARG PYTHON=python:3.13-slim\nFROM ${PYTHON} AS base\n")
    return tmp_path


def test_renewing_writes_the_lock_and_the_base(folder: Path) -> None:
    """And says of each image what is new."""
    lines = renew.renew(lambda image: B, folder / "images.lock", folder / "Dockerfile")
    assert f"{images.CONSUL} {B} (was {A})" in lines
    assert f"{images.JAEGER} {B} (as before)" in lines
    assert f"{images.GRAFANA} {B} (new)" in lines
    assert images.read_lock((folder / "images.lock").read_text(), "") == dict.fromkeys(images.THEIRS, B)
    base = f"# base\nARG PYTHON={images.PYTHON}@{B}\nFROM ${{PYTHON}} AS base\n"
    assert (folder / "Dockerfile").read_text() == base
    renew.renew(lambda image: A, folder / "images.lock", folder / "Dockerfile")
    assert (folder / "Dockerfile").read_text() == base.replace(B, A)


def test_one_registry_that_does_not_answer_changes_nothing(folder: Path) -> None:
    """Half a lock would be none."""

    def ask(image: str) -> str:
        if image == images.PYTHON:
            raise MeshError("no such host")
        return B

    before = {path.name: path.read_text() for path in folder.iterdir()}
    with pytest.raises(MeshError, match="no such host"):
        renew.renew(ask, folder / "images.lock", folder / "Dockerfile")
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


def test_a_dockerfile_of_another_form_changes_nothing(folder: Path) -> None:
    """Its base would stay unpinned unnoticed."""
    (folder / "Dockerfile").write_text("FROM python:3.13-slim\n")
    before = (folder / "images.lock").read_text()
    with pytest.raises(MeshError, match="has no line ARG PYTHON="):
        renew.renew(lambda image: B, folder / "images.lock", folder / "Dockerfile")
    assert (folder / "images.lock").read_text() == before


def test_stand_ins_are_taken_by_tag() -> None:
    """An image that is here by its digest, or not here at all, is left as it is pinned."""

    def pinned(image: str) -> str:
        return f"{image}@{A}"

    assert by_tag(lambda image: image, lambda image: True) == {}
    assert by_tag(pinned, lambda image: True) == {}
    assert by_tag(pinned, lambda image: False) == {}
    assert by_tag(pinned, lambda image: image in (images.CONSUL, images.PYTHON)) == {
        "services": {
            "consul": {"image": images.CONSUL},
            "ingress": {"build": {"args": {"PYTHON": images.PYTHON}}},
        }
    }
