"""Pinned versions are not below those that mended known security faults."""

from __future__ import annotations

import re

import pytest
from packaging.version import Version

from posthorn_local.environment import SERVICES
from posthorn_local.paths import REPOSITORY

# The lowest version without the advisory named. An audit that cannot reach its database reports nothing: this can.
FLOORS = {
    "starlette": ("1.5.1", "CVE-2025-54121, CVE-2025-62727, CVE-2026-48710, PYSEC-2026-248, PYSEC-2026-249; range cap"),
    "fastapi": ("0.136.3", "allows that starlette"),
    "pyjwt": ("2.15.0", "CVE-2024-53861, CVE-2026-32597, CVE-2026-102266, CVE-2026-102273 to 102275"),
    "h11": ("0.16.0", "CVE-2025-43859"),
    "python-multipart": ("0.0.27", "CVE-2024-53981, CVE-2026-24486, CVE-2026-40347, CVE-2026-42561"),
    "jinja2": ("3.1.6", "CVE-2024-56201, CVE-2024-56326, CVE-2025-27516"),
    "aiosmtpd": ("1.4.6", "SMTP smuggling"),
    "bullmq": ("3.4.4", "workers that paused without pausing"),
}
FILES = (*SERVICES, "dev", "build", "uv")
PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^\s;\\]+)", re.MULTILINE)


def pins(name):
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    return {match["name"].lower(): Version(match["version"]) for match in PIN.finditer(text)}


@pytest.mark.parametrize("name", FILES)
def test_no_pin_is_below_its_floor(name):
    found = pins(name)
    assert found

    below = {
        f"{package} {found[package]} < {floor}: {why}"
        for package, (floor, why) in FLOORS.items()
        if package in found and found[package] < Version(floor)
    }

    assert below == set()


def test_floors_speak_of_packages_that_are_used():
    assert FLOORS.keys() - {"jinja2"} <= pins("dev").keys()


@pytest.mark.parametrize("name", FILES)
def test_every_pin_has_hashes_and_no_file_names_an_index(name):
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", text.strip())

    assert len(blocks) == len(PIN.findall(text))
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


def test_images_hold_no_template_language_but_ours(service):
    assert "jinja2" not in pins(service)


def test_an_image_holds_the_versions_that_were_tested(service):
    dev = pins("dev")

    assert {name: version for name, version in pins(service).items() if dev.get(name) != version} == {}
