"""The guard around Flower's SuperLink: who gets through, and that it cannot be left out."""

import asyncio
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.supercore import version
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.superlink import main as flower
from flwr.supernode.fleet_http_connection import http_request_response
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from clients.deployment.connection import (
    ConnectionProblem,
    ServerForeign,
    node_is_registered,
    probe,
)
from clients.deployment.node_key import create_node_key
from server.deployment import superlink
from server.deployment.certificates import create
from server.deployment.superlink import LoopbackOnly, StartRefused, main

STRANGER, OURSELVES = "192.0.2.9", "127.0.0.1"
CONTROL, FLEET = "/v1/control/start-run", "/v1/fleet/pull-messages"


def scope(path: str, peer: str | None = OURSELVES, **changes: Any) -> dict[str, Any]:
    """A request as uvicorn describes it; headers are added to a Host that names loopback."""
    host, extra = changes.pop("host", "127.0.0.1:9092"), changes.pop("headers", {})
    headers = [(b"host", host.encode("latin-1"))] if host is not None else []
    headers += [(name.encode("ascii"), value.encode("ascii")) for name, value in extra.items()]
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode("utf-8"),
        "root_path": "",
        "query_string": b"",
        "scheme": "https",
        "headers": headers,
        "client": None if peer is None else (peer, 50000),
        "server": ("0.0.0.0", 9092),
        **changes,
    }


def ask(request: dict[str, Any], *, behind_uvicorn: bool = False) -> tuple[bool, list[Any]]:
    """Whether the app behind the guard was reached, and what the guard said itself."""
    reached: list[str] = []
    said: list[Any] = []

    async def app(asked: Any, receive: Any, send: Any) -> None:
        reached.append(asked["type"])

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(event: Any) -> None:
        said.append(event)

    guard: Any = LoopbackOnly(app)
    if behind_uvicorn:
        guard = ProxyHeadersMiddleware(guard, "*")
    asyncio.run(guard(request, receive, send))
    assert bool(reached) != bool(said)
    return bool(reached), said


@pytest.mark.parametrize(
    "request_scope",
    [
        scope(FLEET, STRANGER),
        scope(FLEET, STRANGER, host="fed.example.org"),
        scope(FLEET, STRANGER, host=None),
        scope(FLEET, headers={"x-forwarded-for": STRANGER, "via": "1.1 proxy"}),
        scope("/health", STRANGER, method="GET"),
        scope(CONTROL),
        scope(CONTROL, "127.8.9.10", host="localhost"),
        scope(CONTROL, "::1", host="[::1]:9092"),
        scope(CONTROL, "::ffff:127.0.0.1", host="LOCALHOST:9092"),
        scope("/v1/runtime/pull-messages"),
        scope("/docs", headers={"user-agent": "curl"}),
        {"type": "lifespan"},
    ],
)
def test_these_pass(request_scope: dict[str, Any]) -> None:
    assert ask(request_scope)[0]


REFUSED = {
    "a stranger": scope(CONTROL, STRANGER),
    "a stranger at the runtime": scope("/v1/runtime/pull-messages", STRANGER),
    "a stranger at the documentation": scope("/openapi.json", STRANGER, method="GET"),
    "a stranger who is IPv6": scope(CONTROL, "2001:db8::1"),
    "a stranger in mapped form": scope(CONTROL, f"::ffff:{STRANGER}"),
    "a peer that is no address": scope(CONTROL, "localhost"),
    "the wildcard": scope(CONTROL, "0.0.0.0"),
    "no peer": scope(CONTROL, None),
    "a proxy beside us": scope(CONTROL, headers={"x-forwarded-for": STRANGER}),
    "a proxy that names loopback": scope(CONTROL, headers={"x-forwarded-for": OURSELVES}),
    "an empty forwarding header": scope(CONTROL, headers={"x-forwarded-for": ""}),
    "upper case": scope(CONTROL, headers={"X-Forwarded-For": STRANGER}),
    "underscores": scope(CONTROL, headers={"x_forwarded_for": STRANGER}),
    "forwarded": scope(CONTROL, headers={"forwarded": "for=127.0.0.1"}),
    "x-real-ip": scope(CONTROL, headers={"x-real-ip": OURSELVES}),
    "x-forwarded-proto": scope(CONTROL, headers={"x-forwarded-proto": "https"}),
    "via": scope(CONTROL, headers={"via": "1.1 proxy"}),
    "a page in a browser": scope(CONTROL, headers={"origin": "https://evil.example"}),
    "a name that was rebound": scope(CONTROL, host="evil.example:9092"),
    "a name below loopback's": scope(CONTROL, host="127.0.0.1.evil.example"),
    "a user before the host": scope(CONTROL, host="evil.example@127.0.0.1"),
    "the wildcard as host": scope(CONTROL, host="0.0.0.0:9092"),
    "no host": scope(CONTROL, host=None),
    "an empty host": scope(CONTROL, host=""),
    "two hosts": scope(CONTROL, headers={"host": "evil.example"}),
    "two hosts at the fleet": scope(FLEET, STRANGER, headers={"host": "fed.example.org"}),
    "two slashes": scope("//v1/fleet/pull-messages", STRANGER),
    "two slashes before control": scope("//v1/control/start-run", STRANGER),
    "dots": scope("/v1/fleet/../control/start-run", STRANGER),
    "dots that were encoded": scope(
        "/v1/fleet/../control/start-run", STRANGER, raw_path=b"/v1/fleet/%2e%2e/control/start-run"
    ),
    "a path that was encoded": scope(FLEET, STRANGER, raw_path=b"/v1/%66leet/pull-messages"),
    "a path in upper case": scope("/V1/FLEET/PULL-MESSAGES", STRANGER),
    "the folder alone": scope("/v1/fleet/", STRANGER),
    "a longer name": scope("/v1/fleetcontrol/start-run", STRANGER),
    "deeper": scope("/v1/fleet/x/y", STRANGER),
    "a line's end": scope("/v1/fleet/pull-messages\n", STRANGER),
    "a null": scope("/v1/fleet/pull-messages\0", STRANGER),
    "parameters": scope("/v1/fleet/pull;x=/v1/control/start-run", STRANGER),
    "backslashes": scope("/v1/fleet/..\\control", STRANGER),
    "another alphabet": scope("/v1/fleet/pull-messag\u00e9", STRANGER),
    "an absolute form": scope("http://127.0.0.1/v1/fleet/pull-messages", STRANGER),
    "a mounting prefix": scope(FLEET, STRANGER, root_path="/v1/fleet"),
    "a host that changes the path": scope(FLEET, STRANGER, host="x/y?"),
    "below health": scope("/health/x", STRANGER),
}


@pytest.mark.parametrize("request_scope", REFUSED.values(), ids=REFUSED.keys())
def test_these_are_refused_in_one_line(request_scope: dict[str, Any]) -> None:
    passed, said = ask(request_scope)
    assert not passed
    start, body = said
    assert start["status"] == 403
    headers = dict(start["headers"])
    assert headers[b"content-type"].startswith(b"text/plain")
    assert int(headers[b"content-length"]) == len(body["body"])
    assert body["body"].count(b"\n") == 1
    assert body["body"].endswith(b"\n")


def test_what_uvicorn_makes_of_forwarding_headers_opens_nothing() -> None:
    # Where uvicorn believes the header of anybody, the app sees a peer on loopback.
    for peer in (STRANGER, OURSELVES):
        for named in (OURSELVES, STRANGER, f"{OURSELVES}, {STRANGER}"):
            forwarded = scope(CONTROL, peer, headers={"x-forwarded-for": named})
            assert not ask(forwarded, behind_uvicorn=True)[0]
    assert ask(scope(CONTROL), behind_uvicorn=True)[0]


@pytest.mark.parametrize("path", [CONTROL, FLEET])
def test_websockets_of_strangers_are_closed_before_they_open(path: str) -> None:
    passed, said = ask(scope(path, STRANGER, type="websocket"))
    assert not passed
    assert said == [{"type": "websocket.close", "code": 1008}]
    assert not ask(scope(path, host="evil.example", type="websocket"))[0]
    assert ask(scope(path, type="websocket"))[0]


def test_a_kind_of_scope_that_is_not_known_is_not_passed_on() -> None:
    with pytest.raises(ValueError, match="scope type 'webtransport'"):
        ask({**scope(CONTROL), "type": "webtransport"})


FLAGS = ("--ssl-ca-certfile=ca", "--ssl-certfile=crt", "--ssl-keyfile=key")
GOOD = (*FLAGS, "--enable-supernode-auth")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `main` up to the moment it would hand over to Flower; say whether it came there."""

    def run(flags: tuple[str, ...], **environment: str) -> bool:
        started: list[bool] = []
        monkeypatch.setattr(superlink, "_guard_flower", lambda: lambda: started.append(True))
        monkeypatch.setattr(sys, "argv", ["superlink", *flags])
        for name in ("FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION", *superlink._UNGUARDED):
            monkeypatch.setenv(name, environment.get(name, ""))
        for name in ("FLWR_TELEMETRY_ENABLED", "FLWR_DISABLE_UPDATE_CHECK"):
            monkeypatch.setenv(name, "0")
        main()
        assert os.environ["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
        return bool(started)

    return run


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1", "localhost"])
def test_the_server_starts_with_all_its_protections(start: Any, host: str) -> None:
    assert start((*GOOD, f"--host={host}"))


@pytest.mark.parametrize(
    ("flags", "environment", "words"),
    [
        (FLAGS, {}, "--enable-supernode-auth: missing"),
        (GOOD[1:], {}, "--ssl-ca-certfile: missing"),
        (GOOD[2:], {}, "--ssl-ca-certfile, --ssl-certfile: missing"),
        (("--enable-supernode-auth",), {}, "--ssl-certfile, --ssl-keyfile: missing"),
        ((*GOOD, "--insecure"), {}, "--insecure: everybody"),
        ((*GOOD, "--insec"), {}, "--insecure: everybody"),
        ((*GOOD, "--allow-runtime-dependency-installation"), {}, "could install packages"),
        ((*GOOD, "--host=192.0.2.9"), {}, "--host 192.0.2.9: nobody could administer"),
        (GOOD, {"FLWR_INTERNAL_GRPC_CONTROL_API": "1"}, "opens a port without a guard"),
        (GOOD, {"FLWR_INTERNAL_GRPC_FLEET_API": "1"}, "opens a port without a guard"),
    ],
)
def test_a_server_without_one_of_its_protections_does_not_start(
    start: Any,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    environment: dict[str, str],
    words: str,
) -> None:
    with pytest.raises(SystemExit) as caught:
        start(flags, **environment)
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_a_release_of_flower_that_was_not_read_does_not_start(
    start: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(version, "package_version", "1.43.0")
    with pytest.raises(SystemExit):
        start(GOOD)
    assert "flwr 1.43.0: only 1.41.x and 1.42.x are known" in capsys.readouterr().err


def test_uvicorn_serves_no_app_but_a_guarded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def bare(*_: Any) -> None:
        raise AssertionError("must not be served")

    monkeypatch.setattr(uvicorn.Config, "load", uvicorn.Config.load)
    monkeypatch.setattr(flower, "create_app", lambda *_: bare)
    superlink._guard_flower()
    with pytest.raises(StartRefused, match="without the guard"):
        uvicorn.Config(bare, log_config=None, ws="none").load()
    made: Any = flower.create_app()
    config = uvicorn.Config(made, log_config=None, ws="none")
    config.load()
    # The guard sees the peer of the socket: nothing of uvicorn's stands before it.
    assert config.loaded_app is made


def own_address() -> str | None:
    """An address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probing:
        try:
            probing.connect(("198.51.100.1", 9))
        except OSError:
            return None
        found = str(probing.getsockname()[0])
    return None if found.startswith(("127.", "0.")) else found


@dataclass(frozen=True)
class Running:
    """A SuperLink that runs: its port, its certificates, and a home for Flower's command."""

    port: int
    tls: Path
    home: Path
    environment: dict[str, str]

    def flwr(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("flwr")), *words]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=90
        )

    def nodes(self) -> list[dict[str, Any]]:
        """What the server knows of its nodes."""
        listed = self.flwr("supernode", "list", "lab", "--format", "json").stdout
        nodes: list[dict[str, Any]] = json.loads(listed)["nodes"]
        return nodes

    def ask(
        self, path: str, address: str = OURSELVES, method: str = "POST", **headers: str
    ) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(self.tls / "ca.crt"))
        connection = http.client.HTTPSConnection(address, self.port, timeout=20, context=context)
        try:
            kind = {"content-type": PROTOBUF_MEDIA_TYPE, **headers}
            connection.request(method, path, body=b"", headers=kind)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    tls, address = home / "tls", own_address()
    create(tls, ["fed.example.org", *([address] if address else [])])
    with socket.create_server((OURSELVES, 0)) as free:
        port = free.getsockname()[1]
    config = f'[superlink.lab]\naddress = "{OURSELVES}:{port}"\n'
    (home / "config.toml").write_text(f'{config}root-certificates = "{tls / "ca.crt"}"\n')
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "NO_PROXY": "*"}
    running = Running(port, tls, home, {**os.environ, **quiet, "FLWR_HOME": str(home)})
    flags = [f"--ssl-ca-certfile={tls / 'ca.crt'}", f"--ssl-certfile={tls / 'server.crt'}"]
    flags += [f"--ssl-keyfile={tls / 'server.key'}", "--enable-supernode-auth"]
    flags += ["--isolation=process", f"--database={home / 'state.db'}", f"--port={port}"]
    flags += [f"--host={'0.0.0.0' if address else OURSELVES}"]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "server.deployment.superlink", *flags],
            env=running.environment,
            cwd=Path(superlink.__file__).parents[2],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until_up(running, process)
            yield running
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def wait_until_up(running: Running, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            probe(f"{OURSELVES}:{running.port}", running.tls / "ca.crt")
            return
        except ConnectionProblem:
            time.sleep(0.2)
    pytest.fail(f"the server did not come up:\n{(running.home / 'log').read_text()}")


@pytest.mark.slow
def test_a_client_sees_the_certificate_of_the_running_server(
    running: Running, tmp_path: Path
) -> None:
    shown = probe(f"localhost:{running.port}", running.tls / "ca.crt")
    served = x509.load_pem_x509_certificate((running.tls / "server.crt").read_bytes())
    assert shown == served.not_valid_after_utc
    create(tmp_path, ["fed.example.org"])
    with pytest.raises(ServerForeign):
        probe(f"{OURSELVES}:{running.port}", tmp_path / "ca.crt")


@pytest.mark.slow
def test_a_node_sees_its_registration_and_asking_changes_nothing(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    key = create_node_key(tmp_path)
    place = (f"{OURSELVES}:{running.port}", running.tls / "ca.crt", key)
    assert node_is_registered(*place) is False
    made = running.flwr("supernode", "register", str(tmp_path / "node.pub"), "lab")
    assert made.returncode == 0, made.stdout + made.stderr
    before = running.nodes()
    assert [node["status"] for node in before] == ["registered"]
    assert node_is_registered(*place) is True
    assert running.nodes() == before

    with online(*place):
        assert node_is_registered(*place) is True
        assert [node["status"] for node in running.nodes()] == ["online"]


@contextmanager
def online(address: str, ca: Path, key: Path) -> Iterator[None]:
    """Have a node connected as Flower's SuperNode connects."""
    private = load_ssh_private_key(key.read_bytes(), None)
    assert isinstance(private, EllipticCurvePrivateKey)
    pair = (private, private.public_key())
    with http_request_response(address, False, ca.read_bytes(), pair):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/control/list-nodes", "/v1/runtime/get-nodes", "/docs"])
def test_the_running_server_refuses_who_is_forwarded_or_rebound(
    running: Running, path: str
) -> None:
    assert running.ask(path)[0] != 403
    for headers in ({"x-forwarded-for": OURSELVES}, {"host": "evil.example"}):
        status, body = running.ask(path, **headers)
        assert status == 403
        assert body.startswith(b"403: this interface is served to the server's own machine only")


@pytest.mark.slow
def test_strangers_reach_the_fleet_and_nothing_else(running: Running) -> None:
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    assert running.ask("/health", address, "GET")[0] == 200
    assert running.ask(FLEET, address)[0] == 401
    tricks = [
        "//v1/control/list-nodes",
        "/v1/fleet/../control/list-nodes",
        "/V1/control/list-nodes",
    ]
    tricks += ["/v1/fleet/%2e%2e/control/list-nodes", "/v1/%63ontrol/list-nodes"]
    for path in ["/v1/control/list-nodes", "/v1/runtime/get-nodes", "/openapi.json", *tricks]:
        assert running.ask(path, address)[0] == 403, path
        forged = {"host": f"{OURSELVES}:{running.port}", "x-forwarded-for": OURSELVES}
        assert running.ask(path, address, **forged)[0] == 403, path
        assert running.ask(path, address, host=OURSELVES)[0] == 403, path
