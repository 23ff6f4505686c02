"""An organisation's way to the server, and why a connection does not come about.

A SuperNode that cannot connect says little and tries for ever. What is asked here is what it would
ask, once and with a plain answer: is somebody there, is it the server whose authority was pinned,
and does it know this node's key.
"""

from __future__ import annotations

import socket
import ssl
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from clients.deployment.node_key import read_node_key

if TYPE_CHECKING:
    from httpx import HTTPError

# OpenSSL's numbers of why a certificate was refused, as `SSLCertVerificationError.verify_code`.
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME: Final = frozenset({62, 64})
# No path to the pinned authority, or a signature that its key did not make.
_FOREIGN: Final = frozenset({7, 18, 19, 20, 21})

# Flower's codes of the answer to a request to activate a node.
_INVALID_INTERVAL, _NOT_ACTIVATED = 2003, 2004


class ConnectionProblem(ValueError):
    """A connection did not come about: one line with the cause and the remedy."""


class AddressUnknown(ConnectionProblem):
    """The address is none, or no name service knows its host."""


class NobodyListens(ConnectionProblem):
    """Nothing listens at the port, or a machine on the way says no."""


class NoAnswer(ConnectionProblem):
    """Nothing came back in time."""


class NotTls(ConnectionProblem):
    """Something answers, but no TLS came about."""


class AuthorityUnreadable(ConnectionProblem):
    """The file of the pinned authority holds no certificate."""


class ServerExpired(ConnectionProblem):
    """The server's certificate, or the pinned authority, is past its last day."""


class ServerNotYetValid(ConnectionProblem):
    """The server's certificate is before its first day, or this machine's clock is wrong."""


class ServerForeign(ConnectionProblem):
    """The server's certificate is not signed by the pinned authority."""


class ServerNameMismatch(ConnectionProblem):
    """The server's certificate does not stand for the name it was asked by."""


class UnexpectedReply(ConnectionProblem):
    """The server is the right one, but what it answers is not what a SuperLink would."""


def probe(address: str, ca: Path, timeout_seconds: float = 10) -> datetime:
    """Open a TLS connection as a SuperNode would, send nothing, and close it.

    Only the pinned authority is trusted, and no proxy of the environment is used.

    Args:
        address: Host and port; an IPv6 address in brackets.
        ca: The pinned authority's certificate, in PEM form.
        timeout_seconds: For each of the host's addresses and each step.

    Returns:
        The last moment of the certificate that the server showed and that held, in UTC.

    Raises:
        ConnectionProblem: one of its kinds.
    """
    host, port = _host_and_port(address)
    pinned = _read_authority(ca)
    try:
        der = _shown(address, host, port, _trusting(ca), timeout_seconds)
    except ssl.SSLCertVerificationError as error:
        _explain(error, address, host, port, pinned, timeout_seconds)
    return x509.load_der_x509_certificate(der).not_valid_after_utc


def node_is_registered(
    address: str, ca: Path, node_key: Path, *, timeout_seconds: float = 10
) -> bool:
    """Ask the server's Fleet interface whether it knows a node's key.

    The request asks to activate the node with a heartbeat of no seconds, signed as a SuperNode
    signs. Flower looks up the key first and refuses the heartbeat then, so that the refusal tells
    which of both it was and nothing changes.

    Args:
        address: Host and port.
        ca: The pinned authority's certificate.
        node_key: The private key, as `create_node_key` writes it.
        timeout_seconds: For each step.

    Raises:
        ConnectionProblem: if the server cannot be reached, or answers something else.
        ValueError: if the key cannot be read.
    """
    import httpx
    from flwr.proto.fleet_pb2 import ActivateNodeRequest
    from flwr.supercore.error import FlowerError
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes
    from flwr.supernode.fleet_http_client import FleetHttpClient
    from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

    key = read_node_key(node_key)
    probe(address, ca, timeout_seconds)
    signing = NodeAuthHttpInterceptor(key, key.public_key())
    with FleetHttpClient(
        f"https://{address}", interceptors=[signing], verify=_trusting(ca), timeout=timeout_seconds
    ) as fleet:
        try:
            fleet.ActivateNode(
                ActivateNodeRequest(public_key=public_key_to_bytes(key.public_key()))
            )
        except httpx.HTTPError as error:
            refused = None
            if isinstance(error, httpx.HTTPStatusError):
                refused = FlowerError.from_json(error.response.text)
            if refused is None or refused.code not in (_INVALID_INTERVAL, _NOT_ACTIVATED):
                raise UnexpectedReply(_reply(address, error)) from error
            return refused.code == _INVALID_INTERVAL
    raise UnexpectedReply(
        f"{address}: activates nodes without a heartbeat; compare the releases of flwr"
    )


def _reply(address: str, error: HTTPError) -> str:
    """One line on an answer that is none of those expected."""
    from httpx import HTTPStatusError

    if not isinstance(error, HTTPStatusError):
        return (
            f"{address}: verified, but its answer broke off ({type(error).__name__}); if the "
            "environment names a proxy (HTTPS_PROXY), exempt the server in NO_PROXY"
        )
    if error.response.status_code == 401:
        return (
            f"{address}: refuses the signature, which holds for 5 minutes by the server's clock "
            f"({error.response.headers.get('date', 'unknown')}); set the clock of this machine"
        )
    return (
        f"{address}: answers HTTP {error.response.status_code} instead of Flower's Fleet "
        "interface; ask its operator what stands before the SuperLink"
    )


def _trusting(ca: Path) -> ssl.SSLContext:
    """A context that trusts the pinned authority and nobody else, as a SuperNode's does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=ca)
    return context


def _shown(
    address: str, host: str, port: int, context: ssl.SSLContext, timeout_seconds: float
) -> bytes:
    """The certificate that a server shows in a handshake, in DER form."""
    try:
        plain = socket.create_connection((host, port), timeout_seconds)
    except (socket.gaierror, UnicodeError) as error:
        raise AddressUnknown(
            f"{address}: no name service knows {host!r}; check the spelling, or the network"
        ) from error
    except TimeoutError as error:
        raise NoAnswer(
            f"{address}: did not answer within {timeout_seconds:g} s; check the address, and "
            "that firewalls let this machine out to the port"
        ) from error
    except OSError as error:
        raise NobodyListens(
            f"{address}: refuses connections ({error.strerror}); check the port, and that the "
            "server runs"
        ) from error
    with plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as secure:
                der = secure.getpeercert(binary_form=True)
        except ssl.SSLCertVerificationError:
            raise
        except TimeoutError as error:
            raise NoAnswer(
                f"{address}: accepts connections, but began no TLS within {timeout_seconds:g} s; "
                "check that the port is the SuperLink's"
            ) from error
        except OSError as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise NotTls(
                f"{address}: does not speak TLS as is asked for ({reason}); check that the port "
                "is the SuperLink's and that it was started with its certificates"
            ) from error
    if der is None:
        raise NotTls(f"{address}: showed no certificate; check that the port is the SuperLink's")
    return der


def _explain(
    error: ssl.SSLCertVerificationError,
    address: str,
    host: str,
    port: int,
    pinned: x509.Certificate,
    timeout_seconds: float,
) -> NoReturn:
    """Raise the reason for which a certificate was refused, with what it says about itself.

    A handshake that fails leaves no certificate to read, hence a second one, by which nothing is
    decided and nothing is sent.
    """
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    der = _shown(address, host, port, unverified, timeout_seconds)
    shown = x509.load_der_x509_certificate(der)
    last, pinned_last = shown.not_valid_after_utc, pinned.not_valid_after_utc
    if error.verify_code == _EXPIRED and pinned_last <= last:
        # The first of both to end is the one that has: no clock is asked a second time.
        raise ServerExpired(
            f"{address}: the pinned authority expired on {pinned_last:%Y-%m-%d %H:%M} UTC; ask "
            "the server's operator for the new ca.crt"
        )
    if error.verify_code == _EXPIRED:
        raise ServerExpired(
            f"{address}: its certificate expired on {last:%Y-%m-%d %H:%M} UTC; its operator renews "
            "it with `fedaccord server init --renew DIR`"
        )
    if error.verify_code == _NOT_YET_VALID:
        first = max(pinned.not_valid_before_utc, shown.not_valid_before_utc)
        raise ServerNotYetValid(
            f"{address}: its certificate is valid from {first:%Y-%m-%d %H:%M} UTC only; set the "
            "clock of this machine"
        )
    if error.verify_code in _FOREIGN:
        authority = _groups(pinned.public_bytes(serialization.Encoding.DER))
        raise ServerForeign(
            f"{address}: its certificate {_groups(der)} is not signed by the pinned authority "
            f"{authority}; it is another server, or somebody is between: compare the fingerprint "
            "of ca.crt with its operator by phone, and connect only then"
        )
    if error.verify_code in _OTHER_NAME:
        raise ServerNameMismatch(
            f"{address}: its certificate stands for {_names(shown)}, not for {host!r}; use one of "
            "these names, or have its operator renew it with this one"
        )
    raise ConnectionProblem(
        f"{address}: its certificate was refused ({error.verify_message}); tell its operator"
    )


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    well_formed = bare and not set(bare) & set("[]/@ ") and (bare != host or ":" not in bare)
    if not well_formed or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise AddressUnknown(
            f"address {address!r}: must be HOST:PORT with a port from 1 to 65535, an IPv6 address "
            "in brackets, and no scheme"
        )
    return bare, int(port)


def _read_authority(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError) as error:
        raise AuthorityUnreadable(
            f"{path}: holds no certificate in PEM form; give the ca.crt of the federation's server"
        ) from error


def _names(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "no name"
    return ", ".join(str(name.value) for name in names)


def _groups(der: bytes) -> str:
    return sha256(der).digest().hex(":").upper()
