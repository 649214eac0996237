"""What a browser lets a page do to the mesh of the machine it runs on, and where the page's token goes.

The pages come from a name on the internet (`evil.test`) and from another port of 127.0.0.1; by DNS rebinding
another name leads to the mesh's own listeners. Chromium is told where the names lead instead of asking.
"""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real_mesh import RealMesh, http, real_mesh
from tests.page.browser import VIEWPORT, chromium, need_browser
from tests.security.test_listeners import ACTS, PORTS, READS, Three, start

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

LED = ("evil.test", "rebound.test")
LOAD_MS = 90_000  # a machine that runs other tests, too

ECHO = """
import http.server, json, sys

class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""
TOPOLOGY = """
services:
- name: echo
  isEntrypoint: true
  command: [python3, "{folder}/echo.py", "{port}"]
"""


class Elsewhere(ThreadingHTTPServer):
    """Serves one page at all paths; `html` is what it is now."""

    html = ""


class Page(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        text = f"<!doctype html><title>elsewhere</title><body>{self.server.html}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    need_browser()
    rules = ", ".join(f"MAP {name} 127.0.0.1" for name in LED)
    with chromium(f"--host-resolver-rules={rules}") as found:
        yield found


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def three(browser: Any, elsewhere: Elsewhere) -> Iterator[Three]:
    """Without a token: what a browser says is all there is to tell its pages from programs."""
    with ExitStack() as stack:
        yield start(stack, "127.0.0.1", f"127.0.0.1:{elsewhere.server_port}")


@pytest.fixture(scope="module")
def mesh(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    """One service, whose program says what it is sent."""
    folder: Path = tmp_path_factory.mktemp("browser")
    (folder / "echo.py").write_text(ECHO)
    (folder / "echo.yaml").write_text(TOPOLOGY.replace("{folder}", str(folder)))
    with real_mesh(folder, "echo.yaml", "--no-load") as found:
        yield found


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """In a profile of its own."""
    context = browser.new_context(viewport=VIEWPORT)
    yield context.new_page()
    context.close()


# -- pages from elsewhere


def origins(elsewhere: Elsewhere) -> list[str]:
    """Cross-site, and same-site by another port."""
    return [f"http://{host}:{elsewhere.server_port}" for host in ("evil.test", "127.0.0.1", "localhost")]


# Every way in which a page's script may ask, with what it got to read; a refusal to read is null.
FETCHES = """async (jobs) => {
  const got = [];
  for (const [method, url, body] of jobs) {
    for (const mode of ["cors", "no-cors"]) {
      for (const type of ["text/plain", "application/json"]) {
        const options = { method, mode, credentials: "include", headers: { "Content-Type": type } };
        if (body !== null) options.body = body;
        try {
          const answer = await fetch(url, options);
          if (answer.type !== "opaque") got.push(await answer.text());
        } catch {
          // it cannot be read
        }
      }
    }
    navigator.sendBeacon(url, body ?? "");
  }
  return got;
}"""


@pytest.mark.parametrize("name", PORTS)
def test_scripts_of_pages_from_elsewhere_change_and_read_nothing(
    page: Any, three: Three, elsewhere: Elsewhere, name: str
) -> None:
    """By fetch and beacon, with every method and type of body."""
    jobs = [
        (method, three.url(name) + path, None if body is None else body.decode())
        for own, path, body in ACTS[name]
        for method in {own, "POST", "PUT"}
    ]
    jobs += [("GET", three.url(name) + path, None) for path in READS[name]]
    for origin in origins(elsewhere):
        page.goto(origin)
        assert page.evaluate(FETCHES, jobs) == [], origin
        three.unharmed()


KINDS = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")


def test_forms_of_pages_from_elsewhere_change_nothing(page: Any, three: Three, elsewhere: Elsewhere) -> None:
    """Sent without a click; their origin may also be hidden."""
    posts = [
        (three.url(name) + path, (body or b"").decode().replace('"', "&quot;"))
        for name in PORTS
        for method, path, body in ACTS[name]
        if method == "POST"
    ]
    kinds = itertools.cycle(KINDS)
    for origin, hidden in itertools.product(origins(elsewhere), (False, True)):
        for url, body in posts:
            elsewhere.html = (
                f'<meta name="referrer" content="{"no-referrer" if hidden else "unsafe-url"}">'
                f'<form method="post" enctype="{next(kinds)}" action="{url}">'
                f'<input name="{body}" value=""></form><script>document.forms[0].submit()</script>'
            )
            with page.expect_response(url) as sent:
                page.goto(origin)
            assert sent.value.status == 403, (origin, url)
    elsewhere.html = ""
    three.unharmed()


def test_pictures_scripts_and_frames_of_pages_from_elsewhere_get_nothing(
    page: Any, three: Three, mesh: RealMesh, elsewhere: Elsewhere
) -> None:
    """Refused by the listener, not only hidden by the browser; what is JSON or of control is hidden, too."""
    urls = [three.url(name) + path for name in ("registry", "admin") for path in READS[name]]
    control = mesh.link.partition("/#")[0]
    hidden = [control + path for path in ("/", "/api/status", "/page/js/main.js")]
    hidden.append(three.url("loadgen") + "/status")
    for origin in origins(elsewhere):
        for tag in ('<img src="{}">', '<script src="{}"></script>', '<iframe src="{}"></iframe>'):
            elsewhere.html = "".join(tag.format(url) for url in (*urls, *hidden))
            statuses: dict[str, int] = {}

            def note(answer: Any, into: dict[str, int] = statuses) -> None:
                into[answer.url] = answer.status

            page.on("response", note)
            page.goto(origin)
            page.remove_listener("response", note)
            assert {url: statuses.get(url) for url in urls} == dict.fromkeys(urls, 403), tag
            assert {statuses.get(url) for url in hidden} <= {403, None}, (tag, statuses)
    elsewhere.html = ""
    three.unharmed()


def test_a_name_that_is_led_here_gets_nothing(page: Any, three: Three, mesh: RealMesh) -> None:
    """DNS rebinding: the browser takes the listener for the page's own server, and hides nothing from it."""
    control = int(mesh.link.partition("/#")[0].rpartition(":")[2])
    for name, port in [*((name, int(three.ports[name])) for name in PORTS), ("control", control)]:
        own = f"http://rebound.test:{port}"
        for path in (*READS.get(name, ("/", "/api/status")), "/ready", "/metrics"):
            answer = page.goto(own + path)
            assert answer.status == 403, (name, path)
            assert "rebound.test" in page.inner_text("body")
        ask = "async ([method, path]) => { const a = await fetch(path, { method }); return a.status; }"
        for method, path, _ in ACTS.get(name, [("POST", "/api/shutdown", None)]):
            assert page.evaluate(ask, [method, path]) == 403, (name, path)
    three.unharmed()


def test_a_link_from_elsewhere_opens_the_page(page: Any, mesh: RealMesh, elsewhere: Elsewhere) -> None:
    """It is a person who clicks it; without the token it shows how to get there, and nothing of the mesh."""
    elsewhere.html = f'<a href="{mesh.link.partition("#")[0]}">the mesh</a>'
    page.goto(f"http://evil.test:{elsewhere.server_port}")
    page.click("a")
    page.wait_for_selector("text=mesh dashboard prints it", timeout=LOAD_MS)
    assert page.inner_text("#phase") == "no token"
    assert page.locator("[data-instance]").count() == 0
    elsewhere.html = ""


# -- the token


def opened(page: Any, mesh: RealMesh) -> str:
    """The page of the mesh, by its link; returns the token."""
    page.goto(mesh.link)
    page.wait_for_selector('[data-instance="echo-1"]', timeout=LOAD_MS)
    return mesh.tokens.control


def test_the_token_leaves_the_address_and_stays_in_the_tab(page: Any, mesh: RealMesh) -> None:
    """Taken once; a reload goes on, another tab needs the link, and no script of another port can read it."""
    token = opened(page, mesh)
    control = mesh.link.partition("#")[0]
    assert page.url == control
    assert page.evaluate("() => [location.hash, document.cookie, localStorage.getItem('mesh.token')]") == [
        "",
        "",
        None,
    ]
    assert page.evaluate("() => sessionStorage.getItem('mesh.token')") == token
    page.reload()
    page.wait_for_selector('[data-instance="echo-1"]', timeout=LOAD_MS)
    page.go_back()
    assert token not in page.url
    other = page.context.new_page()
    other.goto(control)
    other.wait_for_selector("text=mesh dashboard prints it", timeout=LOAD_MS)
    # the new link in the same tab: only the fragment is another
    other.evaluate("link => { location.href = link; }", mesh.link)
    other.wait_for_selector('[data-instance="echo-1"]', timeout=LOAD_MS)
    assert other.url == control


def test_a_token_that_is_not_of_this_mesh_is_said(page: Any, mesh: RealMesh) -> None:
    """Of an earlier run, for example; the page does not ask again and again."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(mesh.link[:-4] + "0000")
    page.wait_for_selector("text=mesh dashboard prints it", timeout=LOAD_MS)
    before = len(asked)
    page.wait_for_timeout(2500)
    assert len(asked) == before


def test_the_token_travels_to_the_control_api_alone(page: Any, mesh: RealMesh, elsewhere: Elsewhere) -> None:
    """In one header; every service of the mesh and every other port hears nothing of it."""
    control = mesh.link.partition("/#")[0]
    sent: list[Any] = []
    page.context.on("request", lambda request: sent.append(request))
    token = opened(page, mesh)
    page.click("#tab-traces")
    page.keyboard.press("s")
    page.click("#tab-faults")
    page.wait_for_timeout(500)
    echo = mesh.instance("echo-1")["ports"]
    for port in (echo["app"], echo["inbound"], echo["admin"], elsewhere.server_port):
        page.evaluate("url => fetch(url, { mode: 'no-cors' }).catch(() => 0)", f"http://127.0.0.1:{port}/x")
    page.goto(f"http://127.0.0.1:{echo['app']}/told")
    told = json.loads(page.inner_text("body"))
    assert told["path"] == "/told"
    assert not {"cookie", "authorization"} & {name.lower() for name in told["headers"]}
    assert token not in json.dumps(told)
    assert page.evaluate("() => document.cookie") == ""
    assert page.context.cookies() == []
    with_token = 0
    for request in sent:
        headers = request.all_headers()
        if headers.get("authorization") == f"Bearer {token}":
            assert request.url.startswith(f"{control}/api/")
            with_token += 1
            del headers["authorization"]
        # the first navigation is named with its fragment, which is not sent
        assert token not in json.dumps(headers) + request.url.partition("#")[0] + (request.post_data or "")
    assert with_token > 5


def test_a_page_cannot_frame_the_live_page(page: Any, mesh: RealMesh, elsewhere: Elsewhere) -> None:
    """Neither to trick clicks out of a person nor to look at it; by link or not."""
    for link in (mesh.link, mesh.link.partition("#")[0]):
        elsewhere.html = f'<iframe src="{link}"></iframe>'
        page.goto(f"http://127.0.0.1:{elsewhere.server_port}")
        page.wait_for_timeout(1000)
        assert all(frame.locator("[data-instance]").count() == 0 for frame in page.frames)
    elsewhere.html = ""


def test_a_program_with_the_token_is_no_browser(mesh: RealMesh) -> None:
    """What `mesh token` prints opens the API, and nothing else does."""
    assert mesh.ask("/api/status").status == 200
    control = mesh.link.partition("/#")[0]
    assert http(f"{control}/api/status").status == 401
    assert http(f"{control}/api/status?token={mesh.tokens.control}").status == 401
    assert http(f"{control}/?token={mesh.tokens.control}").headers.get("Set-Cookie") is None
