import shutil
from pathlib import Path
from tests.forgeries.forger import Forger, copied
from privacy.audit.evidence import gather
from privacy.audit.verify import holds, verify
from tests.hostile import FORGED
def test_make(real, tmp_path):
    for name in ("first", "second"):
        p = getattr(real, name)
        shutil.copytree(p.parent, "/tmp/b19/forge/real", dirs_exist_ok=True)
        checks = verify(gather([p], roster=real.roster))
        print([c.as_dict() for c in checks if c.status != "pass"])
        assert holds(checks)
        f = Forger(copied(p, tmp_path / name), real.keys)
        f.tell()
        checks = verify(gather([f.folder], roster=real.roster))
        print([c.as_dict() for c in checks if c.status != "pass"])
        assert holds(checks)
