"""The key by which an organisation's node signs what it asks the server, in Flower's forms."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)

from atomic import write_new

NODE_KEY, NODE_PUBLIC = "node.key", "node.pub"


def create_node_key(folder: Path) -> Path:
    """Make the key by which a node signs what it asks the server; return its private file.

    `node.key` is for `flower-supernode --auth-supernode-private-key` and for its owner only;
    `node.pub` is for `flwr supernode register`, and is sent to the server's operator.

    Raises:
        ValueError: if the folder has either file; neither is ever overwritten.
    """
    for name in (NODE_KEY, NODE_PUBLIC):
        if (folder / name).exists():
            raise ValueError(
                f"{folder / name}: is there already, and a new key would have to be registered "
                "anew; keep it, or give another folder"
            )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = generate_private_key(SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    write_new(folder / NODE_KEY, private)
    write_new(folder / NODE_PUBLIC, _public_line(key).encode("ascii") + b"\n", mode=0o644)
    return folder / NODE_KEY


def node_public(path: Path) -> str:
    """The public line of a node's private key, as it stands in `node.pub`.

    Raises:
        ValueError: if the file is none, or holds no unencrypted P-384 key in OpenSSH form.
    """
    return _public_line(read_node_key(path))


def read_node_key(path: Path) -> EllipticCurvePrivateKey:
    """The key in a file, as `create_node_key` writes it.

    Raises:
        ValueError: if the file is none, or holds no unencrypted P-384 key in OpenSSH form.
    """
    try:
        key = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); give the file of the node's private key"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(
            f"{path}: is no unencrypted private key in OpenSSH form; give the {NODE_KEY} that was "
            "made for this node"
        ) from error
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP384R1):
        raise ValueError(
            f"{path}: is no P-384 key; give the {NODE_KEY} that was made for this node"
        )
    return key


def _public_line(key: EllipticCurvePrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    ).decode("ascii")
