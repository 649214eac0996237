"""Measurements, run by `make bench`; the last ones stand in README.md beside this file.

Each `bench_NAME.py` has `run() -> str`, a Markdown text with its tables. Bars are ratios within one
run, so that they mean the same on a slow machine; nothing here is a test.
"""
