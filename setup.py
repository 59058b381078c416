"""Puts the reference site (routes.yaml, schemas/, sandbox sites) into the wheel as ``share/govbus``; all else is in setup.cfg."""

from pathlib import Path

from setuptools import setup

SITE = [Path("routes.yaml"), *Path("schemas").rglob("*"), *Path("sandbox").glob("*/routes.yaml")]

folders: dict[str, list[str]] = {}
for path in SITE:
    if path.is_file():
        folders.setdefault(str(Path("share/govbus") / path.parent), []).append(str(path))

setup(data_files=sorted(folders.items()))
