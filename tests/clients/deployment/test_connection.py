"""A node's key in the forms Flower reads, and every way a connection can fail told by its name."""

import argparse
import hashlib
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from clients.deployment.connection import (
    AddressUnknown,
    AuthorityUnreadable,
    ConnectionProblem,
    NoAnswer,
    NobodyListens,
    NotTls,
    ServerExpired,
    ServerForeign,
    ServerNameMismatch,
    ServerNotYetValid,
    UnexpectedReply,
    node_is_registered,
    probe,
)
from clients.deployment.node_key import create_node_key, node_public
from server.deployment.certificates import create, renew

TODAY = datetime.now(UTC).replace(microsecond=0)
Talk = Callable[[socket.socket], None]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    create(folder, ["fed.example.org"])
    return folder


@contextmanager
def listener(talk: Talk) -> Iterator[str]:
    """Have a thread speak to everybody who connects to an address on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        stopped = threading.Event()

        def serve() -> None:
            while not stopped.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                connection.settimeout(5)
                try:
                    with connection:
                        talk(connection)
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            stopped.set()
            thread.join(10)


def speaking_tls(folder: Path, received: list[bytes] | None = None, answer: bytes = b"") -> Talk:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            heard = secure.recv(65536)
            if received is not None:
                received.append(heard)
            if heard and answer:
                secure.sendall(answer)
                # Closing with something unread would break the answer off.
                while secure.recv(65536):
                    pass

    return talk


def test_flower_reads_both_halves_of_the_key(tmp_path: Path) -> None:
    from flwr.cli.supernode.register import try_load_public_key
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes
    from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication

    path = create_node_key(tmp_path / "node")
    asked = argparse.Namespace(auth_supernode_private_key=str(path), auth_supernode_public_key=None)
    keys = _try_setup_client_authentication(asked)
    assert keys is not None
    assert keys[0].curve.name == "secp384r1"
    assert try_load_public_key(path.with_name("node.pub")) == public_key_to_bytes(keys[1])


def test_the_private_half_is_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    path = create_node_key(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN OPENSSH " + b"PRIVATE KEY-----")
    before = path.read_bytes()
    path.with_name("node.pub").unlink()
    with pytest.raises(ValueError, match=r"node\.key: is there already"):
        create_node_key(tmp_path)
    assert path.read_bytes() == before
    assert not path.with_name("node.pub").exists()


def test_the_public_line_can_be_had_from_the_private_half(tmp_path: Path) -> None:
    path = create_node_key(tmp_path)
    line = node_public(path)
    assert path.with_name("node.pub").read_text() == line + "\n"
    assert line.startswith("ecdsa-sha2-nistp384 ")
    path.write_text("nonsense")
    with pytest.raises(ValueError, match="is no unencrypted private key"):
        node_public(path)
    with pytest.raises(ValueError, match=r"other: cannot be read \(No such file"):
        node_public(tmp_path / "other")


def test_keys_of_other_kinds_are_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH)
    small = key.private_bytes(*form, serialization.NoEncryption())
    assert load_ssh_private_key(small, None)
    (tmp_path / "small").write_bytes(small)
    with pytest.raises(ValueError, match="is no P-384 key"):
        node_public(tmp_path / "small")


def test_a_good_server_shows_its_certificate_and_hears_nothing(tls: Path) -> None:
    received: list[bytes] = []
    with listener(speaking_tls(tls, received)) as address:
        shown = probe(address, tls / "ca.crt")
    assert 364 <= (shown - TODAY).days <= 365
    assert received == [b""]


def aged(folder: Path, *, days: int, start: int, ca_days: int = 3650) -> Path:
    begin = TODAY + timedelta(days=start)
    create(folder, ["fed.example.org"], days=days, ca_days=ca_days, now=begin)
    return folder


def test_an_expired_certificate_is_told_with_its_date(tmp_path: Path) -> None:
    folder = aged(tmp_path, days=5, start=-10)
    day = f"{TODAY - timedelta(days=5):%Y-%m-%d}"
    with listener(speaking_tls(folder)) as address:
        words = rf"its certificate expired on {day} .*server init --renew"
        with pytest.raises(ServerExpired, match=words):
            probe(address, folder / "ca.crt")
        renew(folder)
    with listener(speaking_tls(folder)) as address:
        probe(address, folder / "ca.crt")


def test_an_expired_authority_is_not_blamed_on_the_server(tmp_path: Path) -> None:
    folder = aged(tmp_path, days=5, ca_days=5, start=-10)
    with listener(speaking_tls(folder)) as address:
        with pytest.raises(ServerExpired, match=r"the pinned authority expired.*new ca\.crt"):
            probe(address, folder / "ca.crt")


def test_a_certificate_of_the_future_points_to_the_clock(tmp_path: Path) -> None:
    folder = aged(tmp_path, days=5, start=10)
    day = f"{TODAY + timedelta(days=10) - timedelta(hours=1):%Y-%m-%d}"
    with listener(speaking_tls(folder)) as address:
        with pytest.raises(ServerNotYetValid, match=rf"valid from {day} .*clock"):
            probe(address, folder / "ca.crt")


def fingerprint(path: Path) -> str:
    der = ssl.PEM_cert_to_DER_cert(path.read_text())
    return hashlib.sha256(der).digest().hex(":").upper()


def test_a_foreign_certificate_is_told_with_both_fingerprints(tls: Path, tmp_path: Path) -> None:
    create(tmp_path, ["fed.example.org"])
    received: list[bytes] = []
    with listener(speaking_tls(tmp_path, received)) as address:
        with pytest.raises(ServerForeign) as caught:
            probe(address, tls / "ca.crt")
    told = str(caught.value)
    assert fingerprint(tmp_path / "server.crt") in told
    assert fingerprint(tls / "ca.crt") in told
    assert "\n" not in told
    # The first connection broke off in its handshake, the second said nothing.
    assert received == [b""]


def test_another_name_is_told_with_those_of_the_certificate(tls: Path) -> None:
    with listener(speaking_tls(tls)) as address:
        other = address.replace("127.0.0.1", "localhost.localdomain")
        with pytest.MonkeyPatch.context() as patch:
            connect, target = socket.create_connection, ("127.0.0.1", int(address.split(":")[1]))
            patch.setattr(socket, "create_connection", lambda _, limit: connect(target, limit))
            words = r"stands for fed\.example\.org, localhost.*not for 'localhost\.localdomain'"
            with pytest.raises(ServerNameMismatch, match=words):
                probe(other, tls / "ca.crt")


def test_what_speaks_no_tls_is_told_from_what_says_nothing(tls: Path) -> None:
    def plain(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    def silent(connection: socket.socket) -> None:
        while connection.recv(1024):
            pass

    with listener(plain) as address, pytest.raises(NotTls, match="does not speak TLS"):
        probe(address, tls / "ca.crt")
    with listener(lambda connection: None) as address, pytest.raises(NotTls):
        probe(address, tls / "ca.crt")
    with listener(silent) as address, pytest.raises(NoAnswer, match=r"no TLS within 0\.3 s"):
        probe(address, tls / "ca.crt", timeout_seconds=0.3)


def test_nobody_nothing_and_nowhere_are_three_errors(
    tls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(NobodyListens, match=rf"^{free}: refuses connections .*server runs$"):
        probe(free, tls / "ca.crt")

    def fail(error: OSError) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    fail(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    with pytest.raises(AddressUnknown, match=r"no name service knows 'fed\.example\.org'"):
        probe("fed.example.org:9092", tls / "ca.crt")
    fail(TimeoutError())
    with pytest.raises(NoAnswer, match="did not answer within 10 s"):
        probe("fed.example.org:9092", tls / "ca.crt")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host",
        "host:",
        ":1",
        "host:0",
        "host:65536",
        "host:x",
        "https://host:1",
        "::1:80",
        "[]:1",
    ],
)
def test_what_is_no_address_is_refused(tls: Path, address: str) -> None:
    with pytest.raises(AddressUnknown, match="must be HOST:PORT"):
        probe(address, tls / "ca.crt")


@pytest.mark.parametrize("content", [None, "nonsense"])
def test_an_authority_that_is_none_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ca.crt").write_text(content)
    with pytest.raises(AuthorityUnreadable, match=r"ca\.crt: holds no certificate"):
        probe("127.0.0.1:1", tmp_path / "ca.crt")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("403 Forbidden", "answers HTTP 403 instead of"),
        ("401 Unauthorized\r\nDate: Sun, 01 Nov 2026 10:00:00 GMT", "01 Nov 2026 .*set the clock"),
        ("200 OK", "activates nodes without a heartbeat"),
        ("", r"broke off \(RemoteProtocolError\)"),
    ],
)
def test_other_answers_than_flowers_are_no_registration(
    tls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, words: str
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    key = create_node_key(tmp_path)
    whole = f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" if answer else ""
    with listener(speaking_tls(tls, answer=whole.encode("ascii"))) as address:
        with pytest.raises(UnexpectedReply, match=words) as caught:
            node_is_registered(address, tls / "ca.crt", key)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ConnectionProblem)


def test_importing_the_module_does_not_import_flower() -> None:
    code = "import sys, clients.deployment.connection; sys.exit('flwr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
