"""One engine for studies of many simulations: a TOML file in ``files`` is a study."""

from pathlib import Path

#: Studies that come with fedaccord, by bare name.
SHIPPED = {path.stem: path for path in sorted((Path(__file__).parent / "files").glob("*.toml"))}
