"""Every block of docs/scaling.md runs, over an object store."""

from __future__ import annotations

import os
import re
import sys
import uuid
from pathlib import Path

import pytest

from tests.examples.test_guide import ROOT, in_shell, program, run
from tests.support.backends import ObjectStorage
from tests.support.seaweedfs import SeaweedFS
from tests.test_readme import PROJECT, blocks

PAGE = (PROJECT / "docs" / "scaling.md").read_text(encoding="utf-8")
PARTS = {part.partition("\n")[0]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}
BUCKET = "s3://bucket/prefix"  # what the page calls the reader's own
EXAMPLES = PROJECT / "examples"


def test_every_block_has_a_language_that_is_run() -> None:
    """There are no blocks but Python and shell, and the list that the page begins with names the parts."""
    assert {block.language for block in blocks(PAGE)} == {"python", "sh"}
    assert re.findall(r"^- \[([^]]+)\]", PAGE, re.MULTILINE) == list(PARTS)


@pytest.mark.parametrize("name", [name for name, part in PARTS.items() if program(blocks(part))])
def test_the_python_of_a_part_runs(name: str, tmp_path: Path, seaweedfs: SeaweedFS) -> None:
    """As a program of its own; the bucket is one of the test's. Tables that the page shows are what was printed."""
    options = ", ".join(f"{option}={value!r}" for option, value in seaweedfs.options().items())
    source = program(blocks(PARTS[name])).replace(f'"{BUCKET}"', f'"s3://{seaweedfs.bucket}/{uuid.uuid4()}", {options}')
    (tmp_path / "data" / "fleets").mkdir(parents=True)
    (tmp_path / "part.py").write_text(source, encoding="utf-8")
    path = os.pathsep.join([str(EXAMPLES), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    said = run([sys.executable, "part.py"], tmp_path, PYTHONPATH=path)
    if said.startswith("|"):
        assert said in PARTS[name]


@pytest.mark.parametrize(
    "name", [name for name, part in PARTS.items() if any(b.language == "sh" for b in blocks(part))]
)
def test_the_shell_of_a_part_runs(
    name: str, tmp_path: Path, object_storage: ObjectStorage, seaweedfs: SeaweedFS
) -> None:
    """With an operator's data in a directory of the test's, and a bucket whose options are in the environment."""
    fleet = tmp_path / "fleets" / "user-1001" / "fleet.toml"
    fleet.parent.mkdir(mode=0o700, parents=True)
    fleet.write_text('user_id = "user-1001"\npets = []\n')
    fleet.chmod(0o600)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    script = in_shell(blocks(PARTS[name]), tmp_path)
    assert BUCKET in script
    assert ROOT not in script
    said = run(
        ["bash", "-c", script.replace(BUCKET, object_storage.url)],
        tmp_path,
        AWS_ENDPOINT_URL=seaweedfs.endpoints[0],
        AWS_REGION="us-east-1",
        AWS_SKIP_SIGNATURE="true",
        AWS_ALLOW_HTTP="true",
    )
    assert "1 exported" in said
    assert "1 imported" in said
    assert "1 moved, 0 not" in said
    assert object_storage.read("user-1001") == b'user_id = "user-1001"\npets = []\n'
