"""The programs of docs/python.md, run one after the other in a folder with a recording."""

import os
import re
import shutil

import pytest
from conftest import NOISY, ROOT


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_the_page(tmp_path, python):
    shutil.copy(NOISY, tmp_path / "noisy.flac")
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "python.md").read_text(), re.M | re.S)
    assert len(blocks) >= 7
    out = python("\n".join(blocks), tmp_path, HOME=str(tmp_path))
    assert {"clean.wav", "clean.flac", "speech.wav", "One.wav", "Three.wav"} <= set(os.listdir(tmp_path))
    assert "preview" in out and "Two." in out
