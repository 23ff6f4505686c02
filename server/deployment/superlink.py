"""Flower's SuperLink, with its unauthenticated interfaces kept to the server's own machine.

Flower serves three interfaces on one port. The Fleet interface is for the organisations, whose
SuperNodes sign what they ask. The Control and the Runtime interface know no authentication: whoever
reaches them can push code to every client. `python -m server.deployment.superlink` takes the flags
of `flower-superlink`, and lets through from elsewhere the Fleet interface and the health check
alone.

What no process behind a socket can see is a forwarder on the same machine that adds no header: a
plain TCP tunnel, or a proxy that forwards every path. Forward `/v1/fleet/` only
(`deploy/nginx.conf`), and give no account on the server to who may not push code.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from terminal import echo
from texts import visible

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Event, Receive, Send], Awaitable[None]]

#: What anybody may ask for; one exact form, so that no other spelling of a path can be meant.
_PUBLIC_PATH = re.compile(r"/health|/v1/fleet/[a-z]+(-[a-z]+)*")
_HOST = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.IGNORECASE)
#: Set by proxies (behind one, everybody looks like loopback) or, the last, by browsers only.
_FORWARDING: Final = frozenset(
    {b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"true-client-ip", b"cf-connecting-ip"}
    | {b"origin"}
)
_REFUSAL: Final = (
    b"403: this interface is served to the server's own machine only; from elsewhere ask for "
    b"/v1/fleet/, or administer the server on itself through 127.0.0.1\n"
)

#: The releases whose interfaces were read: another may open a port that is not guarded.
_FLOWER: Final = ("1.41.", "1.42.")
#: Flower's former interfaces over gRPC, which these variables bring back, are not guarded.
_UNGUARDED: Final = ("FLWR_INTERNAL_GRPC_CONTROL_API", "FLWR_INTERNAL_GRPC_FLEET_API")


class StartRefused(ValueError):
    """The server would run without one of its protections."""


class LoopbackOnly:
    """An ASGI app that lets strangers at the public paths of another, and loopback at all of it.

    Loopback means: the peer is 127.0.0.0/8, ::1 or its mapped form; no header says that somebody
    forwarded the request or that a browser's page sent it; and the one Host header names loopback
    (a name that was rebound to 127.0.0.1 does not). uvicorn may have replaced the peer by what
    `X-Forwarded-For` says; the header itself stays, and refuses.

    Args:
        app: What is guarded.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Pass on, or answer 403 in one line; a WebSocket is closed before it opens."""
        kind = scope["type"]
        if kind == "lifespan" or (kind in ("http", "websocket") and _allowed(scope)):
            await self._app(scope, receive, send)
        elif kind == "http":
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(_REFUSAL)).encode("ascii")),
                # What the peer still sends of its request is not read.
                (b"connection", b"close"),
            ]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSAL})
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            raise ValueError(f"scope type {kind!r}: is none that is guarded; serve http only")


def _allowed(scope: Event) -> bool:
    headers = [(name.lower().replace(b"_", b"-"), value) for name, value in scope["headers"]]
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    # A Host such as `x/y?` would make the path that Flower's checks see another than the routed.
    if len(hosts) > 1 or not all(_HOST.fullmatch(host) for host in hosts):
        return False
    if scope["type"] == "http" and _is_public(scope):
        return True
    if any(name in _FORWARDING or name.startswith(b"x-forwarded") for name, _ in headers):
        return False
    client = scope.get("client")
    return (
        client is not None and _is_loopback(client[0]) and len(hosts) == 1 and _names_us(hosts[0])
    )


def _is_public(scope: Event) -> bool:
    """Whether the path is public in its decoded and in its raw form, without a mounting prefix."""
    path, raw = scope["path"], scope.get("raw_path")
    if scope.get("root_path") or not _PUBLIC_PATH.fullmatch(path):
        return False
    return raw is None or raw == path.encode("ascii")


def _names_us(host: str) -> bool:
    """Whether a well-formed Host header names loopback; `localhost` is never asked of a DNS."""
    match = _HOST.fullmatch(host)
    name = match[1] if match else ""
    return name.lower() == "localhost" or _is_loopback(name.strip("[]"))


def _is_loopback(address: object) -> bool:
    try:
        peer = ip_address(str(address))
    except ValueError:
        return False
    if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
        return peer.ipv4_mapped.is_loopback
    return peer.is_loopback


def main() -> None:
    """Run `flower-superlink` with the flags of this process, guarded; refuse what weakens it."""
    os.environ["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] = "1"
    for name, value in {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}.items():
        os.environ.setdefault(name, value)
    try:
        _require_reviewed_flower()
        _require_protection(_read_flags())
        run = _guard_flower()
        run()
    except StartRefused as error:
        echo(f"error: {visible(str(error))}", err=True)
        sys.exit(2)


def _require_reviewed_flower() -> None:
    from flwr.supercore.version import package_version

    if not package_version.startswith(_FLOWER):
        known = " and ".join(f"{each}x" for each in _FLOWER)
        raise StartRefused(
            f"flwr {package_version}: only {known} are known to be guarded in full; install a "
            "release that pyproject.toml names"
        )


def _read_flags() -> argparse.Namespace:
    """Read the flags as Flower does, abbreviations included."""
    # The package hides the module behind its function of the same name.
    command = import_module("flwr.superlink.cli.flower_superlink")
    parser: Callable[[], argparse.ArgumentParser] | None
    parser = getattr(command, "_parse_args_run_superlink", None)
    if parser is None:
        raise StartRefused("flwr: has no parser of flags where it was; install flwr 1.42")
    flags: argparse.Namespace = parser().parse_args()
    return flags


def _require_protection(flags: argparse.Namespace) -> None:
    """Refuse flags and variables without which strangers could take part, listen or push code."""
    if flags.insecure:
        raise StartRefused("--insecure: everybody on the way could read and answer; leave it out")
    missing = [
        f"--ssl-{name}"
        for name in ("ca-certfile", "certfile", "keyfile")
        if not getattr(flags, f"ssl_{name.replace('-', '_')}")
    ]
    if missing:
        raise StartRefused(
            f"{', '.join(missing)}: missing; give the files that `fedaccord server init` made"
        )
    if not flags.enable_supernode_auth:
        raise StartRefused(
            "--enable-supernode-auth: missing, so that anybody could take part; add it"
        )
    if flags.runtime_dependency_install:
        raise StartRefused(
            "--allow-runtime-dependency-installation: a run could install packages; leave it out"
        )
    if not (flags.host in ("localhost", "0.0.0.0", "::") or _is_loopback(flags.host)):  # noqa: S104 - compared, not bound
        raise StartRefused(
            f"--host {flags.host}: nobody could administer the server, which is done through "
            "loopback; give 0.0.0.0, :: or 127.0.0.1, and let the firewall choose the interface"
        )
    for name in _UNGUARDED:
        if os.environ.get(name):
            raise StartRefused(f"{name}={os.environ[name]}: opens a port without a guard; unset it")


def _guard_flower() -> Callable[[], None]:
    """Have Flower make a guarded app, and uvicorn serve no other; return Flower's own main."""
    import uvicorn
    from flwr.superlink import main as superlink
    from flwr.superlink.cli.flower_superlink import flower_superlink

    create, load = getattr(superlink, "create_app", None), uvicorn.Config.load
    if create is None:
        raise StartRefused("flwr: makes its app elsewhere than it did; install flwr 1.42")

    def create_guarded(*arguments: Any, **settings: Any) -> LoopbackOnly:
        return LoopbackOnly(create(*arguments, **settings))

    def load_guarded(config: uvicorn.Config) -> None:
        if not isinstance(config.app, LoopbackOnly):
            raise StartRefused(
                "flwr: would serve its app without the guard around it; install flwr 1.42"
            )
        # The guard wants to see the peer of the socket, not whom a header names.
        config.proxy_headers = False
        load(config)

    for owner, name, guarded in (
        (superlink, "create_app", create_guarded),
        (uvicorn.Config, "load", load_guarded),
    ):
        setattr(owner, name, guarded)
    return flower_superlink


if __name__ == "__main__":
    main()
