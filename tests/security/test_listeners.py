"""The registry, the sidecar's admin and the load generator, each started on its own, against who may not.

From this machine, from another (by this machine's address on its network), and by all that a browser says
when a page asks. Real clients are in tests/contract: they notice nothing.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mesh.tokens import authorization
from tests.e2e.real_mesh import Answer, http, until
from tests.security.programs import Program, network_address, program, refused

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

TOKEN = "a-token-for-tests"
ACTS = {
    "registry": [
        ("PUT", "/v1/kv/a", b"v"),
        ("DELETE", "/v1/kv/a", None),
        ("PUT", "/v1/agent/service/register", b'{"Name": "evil"}'),
        ("PUT", "/v1/agent/service/deregister/web-1", None),
        ("PUT", "/v1/agent/check/fail/service:web-1", None),
        ("PUT", "/v1/agent/maintenance?enable=true", None),
        ("PUT", "/v1/catalog/register", b'{"Node": "evil", "Address": "127.0.0.1"}'),
        ("PUT", "/v1/session/create", b"{}"),
        ("PUT", "/v1/txn", b"[]"),
        ("PUT", "/v1/config", b'{"Kind": "service-defaults", "Name": "a"}'),
        ("PUT", "/v1/event/fire/a", b""),
        ("POST", "/v1/query", b'{"Name": "evil", "Service": {"Service": "web"}}'),
    ],
    "admin": [
        ("POST", "/quitquitquit", None),
        ("POST", "/drain_listeners", None),
        ("POST", "/healthcheck/fail", None),
        ("POST", "/healthcheck/ok", None),
        ("POST", "/logging?level=debug", None),
    ],
    "loadgen": [
        ("PUT", "/rate", b'{"rate": 9}'),
        ("PUT", "/pattern", b'{"pattern": "poisson"}'),
        ("POST", "/reset", None),
    ],
}
READS = {
    "registry": ("/v1/catalog/services", "/v1/kv/?recurse", "/v1/agent/self", "/v1/agent/metrics"),
    "admin": ("/", "/snapshot", "/config_dump", "/clusters", "/explain", "/events"),
    "loadgen": ("/status",),
}
PUBLIC = {
    "registry": (),
    "admin": ("/ready", "/metrics", "/stats", "/stats/prometheus"),
    "loadgen": ("/metrics",),
}
PORTS = list(ACTS)


class Three:
    """One of each; `url(name)` from this machine, or from `host`."""

    def __init__(self, registry: Program, sidecar: Program, loadgen: Program) -> None:
        self.programs = {"registry": registry, "admin": sidecar, "loadgen": loadgen}
        self.ports = {
            "registry": registry.bound["http"].rpartition(":")[2],
            "admin": sidecar.bound["admin"].rpartition(":")[2],
            "loadgen": loadgen.bound["http"].rpartition(":")[2],
        }

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.ports[name]}"

    def unharmed(self) -> None:
        """Nobody has done anything to them."""
        assert all(each.alive for each in self.programs.values())
        assert http(self.url("admin") + "/ready").status == 200
        assert http(self.url("admin") + "/snapshot").json()["state"] == "serving"
        status = http(self.url("loadgen") + "/status").json()
        assert (status["rate"], status["pattern"], status["resets"]) == (0, "constant", 0)
        registry = self.url("registry")
        assert list(http(f"{registry}/v1/catalog/services").json()) == ["consul"]
        assert http(f"{registry}/v1/kv/?recurse").status == 404
        assert http(f"{registry}/v1/query").json() == []
        assert http(f"{registry}/v1/session/list").json() == []
        assert [each["Status"] for each in http(f"{registry}/v1/health/state/any").json()] == ["passing"]


def start(stack: ExitStack, host: str, app: str, *more: str, env: dict[str, str] | None = None) -> Three:
    here = stack.enter_context
    return Three(
        here(program("registry", "--http", f"{host}:0", "--ephemeral", *more, env=env)),
        here(
            program(
                "sidecar",
                *("--name", "web-1", "--inbound", "127.0.0.1:0", "--app", app, "--admin", f"{host}:0"),
                env=env,
            )
        ),
        here(program("loadgen", "http://127.0.0.1:1/", "--rate", "0", "--http", f"{host}:0", env=env)),
    )


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """Something that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def local(app: str) -> Iterator[Three]:
    """As they are started: on loopback, without a token."""
    with ExitStack() as stack:
        yield start(stack, "127.0.0.1", app)


@pytest.fixture(scope="module")
def network() -> str:
    address = network_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    return address


def ask(url: str, act: tuple[str, str, bytes | None], headers: dict[str, str] | None = None) -> Answer:
    method, path, body = act
    return http(url + path, method, headers, body)


PAGES = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Host": "evil.example"},
    {"Host": "evil.example:15000", "Origin": "http://evil.example:15000"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
]


@pytest.mark.parametrize("name", PORTS)
@pytest.mark.parametrize("headers", PAGES, ids=lambda each: "-".join(each.values()))
def test_a_page_from_elsewhere_changes_nothing(local: Three, name: str, headers: dict[str, str]) -> None:
    """Refused with words, whatever it asks for."""
    for act in ACTS[name]:
        answer = ask(local.url(name), act, headers)
        assert answer.status == 403, act
        assert 0 < len(answer.body.splitlines()) <= 1
    local.unharmed()


@pytest.mark.parametrize("name", PORTS)
def test_a_page_from_elsewhere_reads_nothing(local: Three, name: str) -> None:
    """Not even what other machines may read: a browser is no machine of its own."""
    for headers in PAGES[:-1]:  # the last is a link that a person clicked, and then reads
        for path in (*READS[name], *PUBLIC[name]):
            assert http(local.url(name) + path, headers=headers).status == 403, (path, headers)


@pytest.mark.parametrize("name", PORTS)
def test_nothing_is_changed_by_a_get(local: Three, name: str) -> None:
    """A picture's address is a GET that any page can make."""
    for _, path, _ in ACTS[name]:
        for method in ("GET", "HEAD"):
            http(local.url(name) + path, method)
    local.unharmed()


def test_this_machine_does_as_it_likes(app: str) -> None:
    """Without a token, by any local name: as curl and Envoy's scripts do."""
    with ExitStack() as stack:
        three = start(stack, "127.0.0.1", app)
        for name in PORTS:
            for host in ("127.0.0.1", "localhost"):
                for path in (*READS[name], *PUBLIC[name]):
                    if path != "/events":
                        status = http(three.url(name, host) + path).status
                        assert status in (200, 404), path
        assert ask(three.url("registry"), ACTS["registry"][0]).status == 200
        assert ask(three.url("loadgen"), ("PUT", "/rate", b'{"rate": 0}')).status == 200
        assert ask(three.url("admin"), ("POST", "/healthcheck/fail", None)).status == 200
        assert http(three.url("admin") + "/ready").status == 503
        assert ask(three.url("admin"), ("POST", "/quitquitquit", None)).status == 200
        until(lambda: not three.programs["admin"].alive)


def test_another_machine_reads_how_it_does_and_nothing_else(app: str, network: str) -> None:
    """Without a token nobody has one; the registry is not even there, as long as nobody says so."""
    with ExitStack() as stack:
        three = start(stack, "0.0.0.0", app, "--insecure")
        for name in ("admin", "loadgen"):
            for path in PUBLIC[name]:
                assert http(three.url(name, network) + path).status == 200
                assert http(three.url(name, network) + path, headers={"Host": "web-1"}).status == 200
            for forged in ({}, {"Host": "127.0.0.1"}, {"X-Forwarded-For": "127.0.0.1"}, authorization("x")):
                for path in READS[name]:
                    assert http(three.url(name, network) + path, headers=forged).status == 403, path
                for act in ACTS[name]:
                    assert ask(three.url(name, network), act, dict(forged)).status == 403, act
        three.unharmed()
        assert ask(three.url("registry", network), ACTS["registry"][0]).status == 200, "it was said"


def test_with_a_token_others_need_it_and_what_acts_needs_it_here_too(app: str, network: str) -> None:
    """And whoever has it does as they like, from everywhere."""
    env = dict.fromkeys(("SIDECAR_ADMIN_TOKEN", "REGISTRY_TOKEN", "LOADGEN_TOKEN"), TOKEN)
    right = dict(authorization(TOKEN))
    with ExitStack() as stack:
        three = start(stack, "0.0.0.0", app, env=env)
        for name in PORTS:
            refused = 403 if name == "registry" else 401  # as Consul says it
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer \xff\xfe"}):
                for path in READS[name]:
                    assert http(three.url(name, network) + path, headers=headers).status == refused
                for host in ("127.0.0.1", network):
                    for act in ACTS[name]:
                        assert ask(three.url(name, host), act, headers).status == refused, act
            for path in PUBLIC[name]:
                assert http(three.url(name, network) + path).status == 200
        three.unharmed()
        for path in ("/snapshot", "/config_dump"):
            shown = http(three.url("admin", network) + path, headers=right)
            assert shown.status == 200
            assert TOKEN.encode() not in shown.body
        consul = {"X-Consul-Token": TOKEN}
        assert ask(three.url("registry", network), ACTS["registry"][0], consul).status == 200
        assert ask(three.url("loadgen", network), ACTS["loadgen"][2], right).status == 200
        assert ask(three.url("admin", network), ACTS["admin"][0], right).status == 200
        until(lambda: not three.programs["admin"].alive)


def test_a_token_file_may_be_written_after_the_start(app: str, tmp_path: Path, network: str) -> None:
    """By whoever makes it; containers start in any order."""
    file = tmp_path / "token"
    env = {"SIDECAR_ADMIN_TOKEN_FILE": str(file)}
    flags = ("--name", "web-1", "--inbound", "127.0.0.1:0", "--app", app, "--admin", "0.0.0.0:0")
    right = dict(authorization(TOKEN))
    with program("sidecar", *flags, env=env) as sidecar:
        port = sidecar.bound["admin"].rpartition(":")[2]
        act = ("POST", "/logging?level=info", None)
        assert ask(f"http://{network}:{port}", act, right).status == 403
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as written:
            written.write(TOKEN + "\n")
        assert ask(f"http://{network}:{port}", act, right).status == 200
        assert ask(f"http://127.0.0.1:{port}", act).status == 401


@pytest.mark.parametrize(
    ("name", "argv", "words"),
    [
        ("registry", ["--http", "0.0.0.0:0", "--ephemeral"], "others could change the registry there"),
        ("registry", ["--ephemeral", "--token", "secret"], "--token: every user of this machine reads"),
        ("registry", ["--ephemeral", "--token-file", "FILE"], "chmod 600 FILE"),
        ("registry", ["--ephemeral", "--token-file", "NONE"], "NONE: cannot be read: No such file"),
        ("sidecar", ["--name", "a", "--registry-token", "secret"], "--registry-token: every user"),
        ("sidecar", ["--name", "a", "--registry-token-file", "FILE"], "chmod 600 FILE"),
        ("sidecar", ["--name", "a", "--admin-token-file", "FILE"], "chmod 600 FILE"),
        ("loadgen", ["http://127.0.0.1:1/", "--token-file", "FILE"], "chmod 600 FILE"),
    ],
)
def test_a_token_that_others_can_read_is_refused(
    tmp_path: Path, name: str, argv: list[str], words: str
) -> None:
    """In the arguments or in a file; one line that says what to do, and the token is not in it."""
    file, none = tmp_path / "token", tmp_path / "none"
    file.write_text("secret\n")
    file.chmod(0o644)
    paths = {"FILE": str(file), "NONE": str(none)}
    code, said = refused(name, *(paths.get(word, word) for word in argv))
    for key, path in paths.items():
        words = words.replace(key, path)
    assert code == 2
    assert words in said.splitlines()[-1]
    assert "secret" not in said
