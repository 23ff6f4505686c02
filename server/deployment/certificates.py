"""A federation's own certificate authority, and the certificate of its server.

Organisations pin `ca.crt` and nothing else: no public authority can vouch for another server. The
folder holds `ca.key` (which may be kept offline between renewals), `ca.crt` (which every
organisation gets), `server.key` and `server.crt`.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA384

from atomic import write_new

CA_KEY, CA_CERTIFICATE = "ca.key", "ca.crt"
SERVER_KEY, SERVER_CERTIFICATE = "server.key", "server.crt"

CA_DAYS: Final = 3650
SERVER_DAYS: Final = 365
#: Below so many days left every start of a server says so.
WARN_BELOW_DAYS: Final = 30

#: The server's own administration comes over loopback, through the same certificate.
LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")

_HOST_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
)
# A certificate made a minute ago must also be valid where the clock is a little behind.
_BACKDATED = timedelta(hours=1)
_ANEW = "make a new authority with `fedaccord server init` and give its ca.crt to everybody"


class CertificateProblem(ValueError):
    """The certificates of a folder cannot be used, or not be made."""


class CertificateMissing(CertificateProblem):
    """A file is not there, or holds something else than its name says."""


class CertificateExists(CertificateProblem):
    """A file that is never overwritten is there already."""


class CertificateExpired(CertificateProblem):
    """A certificate is past its last day."""


class CertificateNotYetValid(CertificateProblem):
    """A certificate is before its first day, or the clock of this machine is wrong."""


class CertificateForeign(CertificateProblem):
    """The server's certificate is not signed by the authority beside it."""


class CertificateNameMissing(CertificateProblem):
    """The server's certificate does not stand for the name it is reached by."""


class KeyMismatch(CertificateProblem):
    """A private key does not belong to its certificate."""


def create(
    folder: Path,
    names: Sequence[str],
    *,
    days: int = SERVER_DAYS,
    ca_days: int = CA_DAYS,
    now: datetime | None = None,
) -> None:
    """Make an authority and a server certificate of it, in a folder that has neither.

    The keys are written for their owner only, and nothing is ever overwritten.

    Args:
        folder: Made if it does not exist.
        names: DNS names and IP addresses the server is reached by; loopback is always added.
        days: Lifetime of the server's certificate; not beyond that of the authority.
        ca_days: Lifetime of the authority.
        now: The moment the lifetimes are counted from; by default this one.

    Raises:
        CertificateExists: if one of the four files is there.
        CertificateProblem: if a name is none, or a lifetime is out of its bounds.
    """
    alternatives = _alternatives(names)
    start = (now or datetime.now(UTC)).replace(microsecond=0)
    _require_days("ca_days", ca_days, CA_DAYS)
    _require_days("days", days, ca_days)
    for name in (CA_KEY, CA_CERTIFICATE, SERVER_KEY, SERVER_CERTIFICATE):
        if (folder / name).exists():
            raise CertificateExists(
                f"{folder / name}: is there already; renew with `{_renewal(folder)}`, or give "
                "another folder"
            )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca_key, server_key = generate_private_key(SECP384R1()), generate_private_key(SECP256R1())
    ca = _authority(ca_key, start, ca_days)
    certificate = _server_certificate(
        ca, ca_key, server_key.public_key(), alternatives, start=start, days=days
    )
    write_new(folder / CA_KEY, _key_pem(ca_key))
    write_new(folder / CA_CERTIFICATE, _pem(ca), mode=0o644)
    write_new(folder / SERVER_KEY, _key_pem(server_key))
    write_new(folder / SERVER_CERTIFICATE, _pem(certificate), mode=0o644)


def renew(
    folder: Path,
    names: Sequence[str] = (),
    *,
    days: int = SERVER_DAYS,
    now: datetime | None = None,
) -> None:
    """Replace the server's certificate by a new one of the same authority and the same key.

    Organisations notice nothing, since they pin the authority. A lost `server.key` is made anew.

    Args:
        folder: Holds `ca.key` and `ca.crt`.
        names: As for `create`; none keeps those of the present certificate.
        days: Lifetime of the new certificate; not beyond that of the authority.
        now: The moment the lifetime is counted from; by default this one.

    Raises:
        CertificateMissing: if a file that is needed is not there.
        CertificateExpired: if the authority is past its last day.
        KeyMismatch: if `ca.key` is not the key of `ca.crt`.
        CertificateProblem: if a name is none, or the lifetime is out of its bounds.
    """
    start = (now or datetime.now(UTC)).replace(microsecond=0)
    ca, ca_key = _read(folder / CA_CERTIFICATE), _read_key(folder / CA_KEY)
    if ca.public_key() != ca_key.public_key():
        raise KeyMismatch(
            f"{folder / CA_KEY}: is not the key of {CA_CERTIFICATE}; put back the one made with it"
        )
    _require_valid(folder / CA_CERTIFICATE, ca, start, _ANEW)
    _require_days("days", days, (ca.not_valid_after_utc - start).days)
    alternatives = _alternatives(names) if names else _names_of(_read(folder / SERVER_CERTIFICATE))
    key_path = folder / SERVER_KEY
    if not key_path.exists():
        write_new(key_path, _key_pem(generate_private_key(SECP256R1())))
    public = _read_key(key_path).public_key()
    certificate = _server_certificate(ca, ca_key, public, alternatives, start=start, days=days)
    # A server that starts meanwhile reads the old certificate or the new one, never half of one.
    fresh = folder / f"{SERVER_CERTIFICATE}.new"
    fresh.unlink(missing_ok=True)
    write_new(fresh, _pem(certificate), mode=0o644)
    fresh.replace(folder / SERVER_CERTIFICATE)


def check(folder: Path, *, name: str | None = None, now: datetime | None = None) -> int:
    """Check that a server can be started with the certificates of a folder; `ca.key` is not needed.

    Args:
        folder: Holds `ca.crt`, `server.crt` and `server.key`.
        name: DNS name or IP address that the server is reached by; None checks no name.
        now: The moment to check for; by default this one.

    Returns:
        Whole days until the first of the two certificates expires.

    Raises:
        CertificateProblem: one of its kinds, in one line with cause and remedy.
    """
    moment, renewal = now or datetime.now(UTC), f"run `{_renewal(folder)}`"
    ca = _read(folder / CA_CERTIFICATE)
    certificate = _read(folder / SERVER_CERTIFICATE)
    key = _read_key(folder / SERVER_KEY)
    _require_valid(folder / CA_CERTIFICATE, ca, moment, _ANEW)
    _require_valid(folder / SERVER_CERTIFICATE, certificate, moment, renewal)
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CertificateForeign(
            f"{folder / SERVER_CERTIFICATE}: is not signed by {CA_CERTIFICATE} beside it; {renewal}"
        ) from error
    if certificate.public_key() != key.public_key():
        raise KeyMismatch(
            f"{folder / SERVER_KEY}: is not the key of {SERVER_CERTIFICATE}; {renewal}"
        )
    known = _names_of(certificate)
    if name is not None and _alternative(name) not in known:
        listed = ", ".join(str(one.value) for one in known)
        raise CertificateNameMissing(
            f"{folder / SERVER_CERTIFICATE}: stands for {listed}, not for {name!r}; {renewal} "
            "with all names"
        )
    return (min(ca.not_valid_after_utc, certificate.not_valid_after_utc) - moment).days


def _authority(key: EllipticCurvePrivateKey, start: datetime, days: int) -> x509.Certificate:
    name = _subject("FedAccord authority")
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    builder = _builder(name, name, key.public_key(), key.public_key(), start, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    return builder.sign(key, SHA384())


def _server_certificate(
    ca: x509.Certificate,
    ca_key: EllipticCurvePrivateKey,
    public: EllipticCurvePublicKey,
    alternatives: Sequence[x509.GeneralName],
    *,
    start: datetime,
    days: int,
) -> x509.Certificate:
    builder = _builder(
        _subject("FedAccord server"), ca.subject, public, ca_key.public_key(), start, days
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(digital_signature=True), True),
        (x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName(alternatives), False),
    ]
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(ca_key, SHA384())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: EllipticCurvePublicKey,
    issuing: EllipticCurvePublicKey,
    start: datetime,
    days: int,
) -> x509.CertificateBuilder:
    """A builder with a random serial number, a lifetime and the identifiers of two keys."""
    return (
        x509.CertificateBuilder(issuer_name=issuer, subject_name=subject, public_key=public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _BACKDATED)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])


def _key_usage(**granted: bool) -> x509.KeyUsage:
    kinds = "digital_signature content_commitment key_encipherment data_encipherment key_agreement"
    usages = [*kinds.split(), "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"]
    return x509.KeyUsage(**{usage: granted.get(usage, False) for usage in usages})


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    if not names:
        raise CertificateProblem(
            "names: none is given; give the names or addresses the server is reached by"
        )
    return list(dict.fromkeys(_alternative(name) for name in (*names, *LOOPBACK_NAMES)))


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    lowered = name.lower()
    # A last label of digits would be taken for an address, and 10.0.0.256 for a name.
    if not _HOST_NAME.fullmatch(lowered) or lowered.rpartition(".")[2].isdigit():
        raise CertificateProblem(
            f"name {name!r}: is no DNS name and no IP address; give one without scheme and port, "
            "in ASCII"
        )
    return x509.DNSName(lowered)


def _names_of(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(
            certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        )
    except x509.ExtensionNotFound:
        return []


def _require_days(name: str, days: int, bound: int) -> None:
    if not 1 <= days <= bound:
        raise CertificateProblem(
            f"{name} {days}: must be from 1 to {bound}, and a server's certificate may not outlive "
            "its authority; give a number in these bounds"
        )


def _require_valid(
    path: Path, certificate: x509.Certificate, moment: datetime, remedy: str
) -> None:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if moment > last:
        raise CertificateExpired(f"{path}: expired on {last:%Y-%m-%d %H:%M} UTC; {remedy}")
    if moment < first:
        raise CertificateNotYetValid(
            f"{path}: is valid from {first:%Y-%m-%d %H:%M} UTC only; set this machine's clock, "
            f"or {remedy}"
        )


def _read(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise _missing(path, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _missing(path, "is no certificate in PEM form") from error


def _read_key(path: Path) -> EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise _missing(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, TypeError) as error:
        raise _missing(path, "is no unencrypted private key in PEM form") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise _missing(path, "is no key on an elliptic curve")
    return key


def _missing(path: Path, why: str) -> CertificateMissing:
    """A refusal with its remedy: a copy of the authority's files, renewal of the server's."""
    remedy = f"run `{_renewal(path.parent)}`"
    if path.name in (CA_KEY, CA_CERTIFICATE):
        remedy = f"put it back, or start anew with `fedaccord server init {path.parent}`"
    return CertificateMissing(f"{path}: {why}; {remedy}")


def _renewal(folder: Path) -> str:
    return f"fedaccord server init --renew {folder}"


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
