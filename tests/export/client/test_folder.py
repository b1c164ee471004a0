"""The folder of the clients, copied to where nothing else of the repository is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import export.client

SCRIPT = """\
import sys
import numpy as np
from served_client import GrpcClient, RestClient
with RestClient("http://localhost:1", "net", retries=0) as client:
    try:
        client.predict({"images": np.zeros([1, 2])})
    except ConnectionError:
        print("no server")
print(sorted({"tensorflow", "keras", "tfrobust", "export", "grpc"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_the_folder_runs_on_its_own_with_numpy_alone(tmp_path):
    shutil.copytree(Path(export.client.__file__).parent, tmp_path / "served_client")
    (tmp_path / "ask.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "ask.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (0, "no server\n[]\n"), ended.stderr
