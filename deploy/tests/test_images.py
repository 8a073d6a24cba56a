"""The Dockerfiles."""

from __future__ import annotations

import re

from posthorn_common.http.app import AppParts, create_app
from posthorn_local.paths import REPOSITORY


def dockerfile(service):
    return (REPOSITORY / "services" / service / "Dockerfile").read_text()


def test_all_dockerfiles_are_the_same_but_for_the_name(service):
    expected = dockerfile("auth").replace("auth", service).replace("AUTH", service.upper())

    assert dockerfile(service) == expected


def test_images_run_without_root_and_install_with_hashes(service):
    text = dockerfile(service)
    install = (REPOSITORY / "deploy" / "image" / "install.sh").read_text()

    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    assert f"RUN deploy/image/install.sh {service} /opt/posthorn" in text
    installs = re.findall(r'pip" install .+', install)
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


def test_everything_that_is_copied_exists(service):
    sources = re.findall(r"^COPY (?!--from)(\S+) ", dockerfile(service), re.MULTILINE)

    assert sources
    assert all((REPOSITORY / source).exists() for source in sources)


def test_the_health_check_asks_a_route_that_exists(service):
    url = re.search(r"urlopen\('http://127\.0\.0\.1:(\d+)(\S+)', timeout", dockerfile(service))
    assert url is not None
    app = create_app(AppParts(service=service, title=service, description="", routers=()))

    assert app.url_path_for("live") == url[2]
    assert f"POSTHORN_{service.upper()}_PORT={url[1]}" in dockerfile(service)


def test_the_entry_point_is_a_command_of_the_package(service):
    project = (REPOSITORY / "services" / service / "pyproject.toml").read_text()

    assert f'posthorn-{service} = "posthorn_{service}.entrypoints.cli:main"' in project
    assert f'ENTRYPOINT ["posthorn-{service}"]' in dockerfile(service)
