"""Suites of measurements for `trainers.evaluate`, one folder each."""
