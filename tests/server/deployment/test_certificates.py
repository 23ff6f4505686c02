"""The federation's own certificates: good ones verify strictly, bad ones are told by name."""

import socket
import ssl
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from server.deployment import certificates
from server.deployment.certificates import (
    CertificateExists,
    CertificateExpired,
    CertificateForeign,
    CertificateMissing,
    CertificateNameMissing,
    CertificateNotYetValid,
    CertificateProblem,
    KeyMismatch,
    check,
    create,
    renew,
)

FILES = ("ca.key", "ca.crt", "server.key", "server.crt")
TODAY = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tls"
    create(made, ["fed.example.org", "192.0.2.7"])
    return made


def shake_hands(folder: Path, name: str) -> None:
    """A TLS handshake as strict as Python's ssl can be, without a socket of the system."""
    outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    outer.load_cert_chain(folder / "server.crt", folder / "server.key")
    inner = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    inner.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with outer.wrap_socket(theirs, server_side=True):
                pass
        except OSError:
            theirs.close()

    server = threading.Thread(target=serve)
    server.start()
    try:
        with inner.wrap_socket(ours, server_hostname=name):
            pass
    finally:
        ours.close()
        server.join(10)


@pytest.mark.parametrize("name", ["fed.example.org", "192.0.2.7", "localhost", "127.0.0.1", "::1"])
def test_strict_verification_accepts_the_certificate_for_its_names_and_loopback(
    folder: Path, name: str
) -> None:
    shake_hands(folder, name)


def test_verification_refuses_another_name(folder: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(folder, "other.example.org")


def test_keys_are_for_their_owner_only(folder: Path) -> None:
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in FILES}
    assert modes["ca.key"] == modes["server.key"] == 0o600
    assert modes["ca.crt"] == modes["server.crt"] == 0o644


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(CertificateExists, match=rf"{name}: is there already.*--renew"):
        create(tmp_path, ["fed.example.org"])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_lifetimes_are_the_stated_ones(folder: Path) -> None:
    assert 3649 <= (read(folder / "ca.crt").not_valid_after_utc - TODAY).days <= 3650
    assert check(folder) == 364


def test_days_left_are_those_of_whichever_expires_first(tmp_path: Path) -> None:
    create(tmp_path, ["fed.example.org"], days=40, ca_days=50, now=TODAY)
    assert check(tmp_path, now=TODAY) == 40
    assert check(tmp_path, now=TODAY + timedelta(days=12)) < certificates.WARN_BELOW_DAYS
    renew(tmp_path, days=30, now=TODAY + timedelta(days=20))
    assert check(tmp_path, now=TODAY + timedelta(days=45)) == 5


def test_an_authority_that_ends_before_the_server_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_require_days", lambda *_: None)
    create(tmp_path, ["fed.example.org"], days=100, ca_days=20, now=TODAY)
    assert check(tmp_path, now=TODAY) == 20


def test_renewal_keeps_the_authority_the_key_and_the_names(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in FILES}
    old = read(folder / "server.crt")
    renew(folder, days=100)
    after = {name: (folder / name).read_bytes() for name in FILES}
    assert [name for name in FILES if before[name] != after[name]] == ["server.crt"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    new = read(folder / "server.crt")
    assert new.serial_number != old.serial_number
    assert check(folder, name="192.0.2.7") == 99


def test_renewal_can_change_the_names_and_replace_a_lost_key(folder: Path) -> None:
    (folder / "server.key").unlink()
    (folder / "server.crt").unlink()
    renew(folder, ["new.example.org"])
    check(folder, name="new.example.org")
    assert stat.S_IMODE((folder / "server.key").stat().st_mode) == 0o600
    with pytest.raises(CertificateNameMissing):
        check(folder, name="fed.example.org")


def test_renewal_wants_the_key_of_the_authority(folder: Path, tmp_path: Path) -> None:
    create(tmp_path / "other", ["fed.example.org"])
    (folder / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(KeyMismatch, match=r"ca\.key: is not the key of ca\.crt"):
        renew(folder)


def test_renewal_does_not_outlive_the_authority(tmp_path: Path) -> None:
    create(tmp_path, ["fed.example.org"], days=50, ca_days=50, now=TODAY)
    with pytest.raises(CertificateProblem, match=r"days 365: must be from 1 to 40"):
        renew(tmp_path, now=TODAY + timedelta(days=10))
    with pytest.raises(CertificateExpired, match=r"ca\.crt: expired"):
        renew(tmp_path, days=1, now=TODAY + timedelta(days=60))


def make_old(folder: Path) -> None:
    for name in FILES:
        (folder / name).unlink()
    create(folder, ["fed.example.org"], days=5, now=TODAY - timedelta(days=10))


def make_future(folder: Path) -> None:
    renew(folder, days=5, now=TODAY + timedelta(days=10))


def make_foreign(folder: Path) -> None:
    other = folder.parent / "other"
    create(other, ["fed.example.org"])
    for name in ("server.crt", "server.key"):
        (folder / name).write_bytes((other / name).read_bytes())


def swap_key(folder: Path) -> None:
    create(folder.parent / "other", ["fed.example.org"])
    (folder / "server.key").write_bytes((folder.parent / "other" / "server.key").read_bytes())


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def garble(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_text("nonsense")

    return damage


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (make_old, CertificateExpired, rf"expired on {TODAY - timedelta(days=5):%Y-%m-%d}"),
        (make_future, CertificateNotYetValid, rf"valid from {TODAY + timedelta(days=9):%Y-%m}"),
        (make_foreign, CertificateForeign, r"not signed by ca\.crt"),
        (swap_key, KeyMismatch, r"server\.key: is not the key of server\.crt"),
        (remove("server.crt"), CertificateMissing, r"server\.crt: cannot be read"),
        (remove("server.key"), CertificateMissing, r"server\.key: cannot be read"),
        (garble("server.crt"), CertificateMissing, r"is no certificate in PEM form"),
        (garble("server.key"), CertificateMissing, r"is no unencrypted private key"),
    ],
)
def test_check_names_cause_and_remedy_in_one_line(
    folder: Path, damage: Callable[[Path], None], error: type[ValueError], words: str
) -> None:
    check(folder)
    damage(folder)
    with pytest.raises(error, match=words) as caught:
        check(folder)
    assert "\n" not in str(caught.value)
    assert f"fedaccord server init --renew {folder}" in str(caught.value)


def test_check_says_when_the_authority_itself_is_missing_or_old(folder: Path) -> None:
    with pytest.raises(CertificateExpired, match=r"ca\.crt: expired on .*new authority"):
        check(folder, now=TODAY + timedelta(days=3700))
    (folder / "ca.crt").unlink()
    with pytest.raises(CertificateMissing, match=r"ca\.crt: cannot be read .*put it back"):
        check(folder)


def test_check_needs_no_key_of_the_authority(folder: Path) -> None:
    (folder / "ca.key").unlink()
    assert check(folder, name="FED.example.org") == 364


def test_check_lists_the_names_when_one_is_missing(folder: Path) -> None:
    words = r"stands for fed\.example\.org, 192\.0\.2\.7, localhost.*not for '192\.0\.2\.8'"
    with pytest.raises(CertificateNameMissing, match=words):
        check(folder, name="192.0.2.8")


@pytest.mark.parametrize(
    "name",
    ["", "https://fed.example.org", "fed.example.org:9092", "10.0.0.256", "a_b", "bücher.de"],
)
def test_what_is_no_name_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(CertificateProblem, match="is no DNS name and no IP address"):
        create(tmp_path / "tls", [name])
    assert not (tmp_path / "tls").exists()


@pytest.mark.parametrize(
    ("lifetimes", "words"),
    [
        ({"days": 0}, r"days 0: must be from 1 to 3650"),
        ({"days": 60, "ca_days": 50}, r"days 60: must be from 1 to 50"),
        ({"ca_days": 4000}, r"ca_days 4000: must be from 1 to 3650"),
    ],
)
def test_lifetimes_are_bounded(tmp_path: Path, lifetimes: dict[str, int], words: str) -> None:
    with pytest.raises(CertificateProblem, match=words):
        create(tmp_path / "tls", ["fed.example.org"], **lifetimes)
    with pytest.raises(CertificateProblem, match="names: none"):
        create(tmp_path / "tls", [])


def test_the_authority_signs_servers_only(folder: Path) -> None:
    ca, certificate = read(folder / "ca.crt"), read(folder / "server.crt")
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]
    key = load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    assert isinstance(key, EllipticCurvePrivateKey)
    assert key.curve.name == "secp384r1"


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())
