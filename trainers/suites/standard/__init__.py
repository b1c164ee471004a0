"""The measurements of a robustness benchmark, and whether they can be trusted."""
