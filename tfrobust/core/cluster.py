"""What the environment says of this process, before TensorFlow is imported."""

from __future__ import annotations

import json
import os


def is_chief_process() -> bool:
    """Whether this process writes files and prints, by `TF_CONFIG` alone.

    The chief is the task of that name, or worker 0 of a cluster that has none.
    """
    config = json.loads(os.environ.get("TF_CONFIG") or "{}")
    task = config.get("task", {})
    kind = task.get("type", "chief")
    if kind == "worker" and "chief" not in config.get("cluster", {}):
        return int(task.get("index", 0)) == 0
    return kind == "chief"
