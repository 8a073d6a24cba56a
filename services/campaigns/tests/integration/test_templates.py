"""Templates through the API."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.bootstrap import Container
from posthorn_contracts.permissions import Role

from .campaign_support import HTML, Office

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: Any, organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


async def test_a_template_is_written_and_read_back(office: Office) -> None:
    template = await office.a_template(text="Dear {{ contact.last_name }}")
    assert template["version"] == 1
    assert template["merge_fields"] == ["contact.attributes.city", "contact.first_name", "contact.last_name"]
    assert await office.get(f"/v1/templates/{template['id']}") == template


async def test_other_sources_are_a_new_version_and_another_name_is_not(office: Office, container: Container) -> None:
    template = await office.a_template()
    path = f"/v1/templates/{template['id']}"
    renamed = (await office.client.patch(path, json={"name": "Other"}, headers=office.headers)).json()
    assert (renamed["name"], renamed["version"], renamed["version_id"]) == ("Other", 1, template["version_id"])
    changed = (await office.client.patch(path, json={"html": "<p>New</p>"}, headers=office.headers)).json()
    assert (changed["version"], changed["merge_fields"]) == (2, ["contact.first_name"])
    assert changed["version_id"] != template["version_id"]
    async with container.engine.connect() as connection:
        query = sa.text("SELECT html FROM template_versions WHERE id = :id")
        assert await connection.scalar(query, {"id": template["version_id"]}) == HTML, "versions never change"


async def test_an_own_text_part_can_be_taken_back(office: Office) -> None:
    template = await office.a_template(text="Own text")
    path = f"/v1/templates/{template['id']}"
    kept = (await office.client.patch(path, json={"subject": "Other"}, headers=office.headers)).json()
    assert kept["text"] == "Own text"
    dropped = (await office.client.patch(path, json={"text": None}, headers=office.headers)).json()
    assert (dropped["text"], dropped["version"]) == (None, 3)


async def test_changes_at_the_same_time_are_versions_one_after_the_other(office: Office) -> None:
    template = await office.a_template()
    path = f"/v1/templates/{template['id']}"
    answers = await asyncio.gather(
        *(office.client.patch(path, json={"html": f"<p>{number}</p>"}, headers=office.headers) for number in range(5))
    )
    assert sorted(answer.json()["version"] for answer in answers) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("changes", "code", "part", "line"),
    [
        ({"html": "<p>\n{{ contact.first_name</p>"}, "template_invalid", "html", 2),
        ({"subject": "{% if %}"}, "template_invalid", "subject", 1),
        ({"text": "a\nb\n{% endif %}"}, "template_invalid", "text", 3),
        ({"html": "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"},
         "template_too_expensive", "html", 1),
        ({"html": "x" * 600_000}, "template_too_large", "html", None),
        ({"subject": "Hi\r\nBcc: all@example.com"}, "subject_not_one_line", "subject", None),
        ({"subject": "{{ 'Hi\\nBcc: all@example.com' }}"}, "subject_not_one_line", "subject", None),
        ({"html": "<p>\x00</p>"}, "template_invalid", "html", 1),
    ],
)  # fmt: skip
async def test_what_cannot_be_sent_is_refused_at_save_and_at_preview(
    office: Office, changes: dict[str, str], code: str, part: str, line: int | None
) -> None:
    sources = {"subject": "Hi", "html": "<p>Hi</p>", **changes}
    template = await office.a_template()
    answers = [
        await office.client.post("/v1/templates", json={"name": "x", **sources}, headers=office.headers),
        await office.client.post("/v1/templates/preview", json=sources, headers=office.headers),
        await office.client.patch(f"/v1/templates/{template['id']}", json=sources, headers=office.headers),
    ]
    for answer in answers:
        assert answer.status_code == 422, answer.text
        document = answer.json()
        assert (document["code"], document["part"], document.get("line")) == (code, part, line)
    assert (await office.get(f"/v1/templates/{template['id']}"))["version"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x", "subject": "x", "html": ""},
        {"name": "x\ny", "subject": "x", "html": "x"},
        {"name": "x", "subject": "x", "html": "x", "colour": "red"},
        {"name": "x", "subject": None, "html": "x"},
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(office: Office, body: Any) -> None:
    answer = await office.client.post("/v1/templates", json=body, headers=office.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_null_for_a_part_that_is_needed_is_refused(office: Office) -> None:
    template = await office.a_template()
    answer = await office.client.patch(f"/v1/templates/{template['id']}", json={"html": None}, headers=office.headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_preview_shows_what_a_contact_would_get(office: Office) -> None:
    template = await office.a_template()
    contact = await office.a_contact(first_name="Grace <G>", attributes={"city": "New York"})
    path = f"/v1/templates/{template['id']}/preview"
    shown = await office.post(path, {"contact_id": contact["id"]}, status=200)
    assert shown["subject"] == "Hello Grace <G>"
    assert "Dear Grace &lt;G&gt; of New York" in shown["html"]
    assert "Dear Grace <G> of New York, read on (https://example.com/read)." in shown["text"]
    assert "/u/preview" in shown["html"], "there is always a way to unsubscribe"
    assert shown["warnings"] == []
    sample = await office.post(path, status=200)
    assert sample["subject"] == "Hello Ada"
    assert sample["warnings"] == ["contact.attributes.city is empty for this contact."]


async def test_sources_are_previewed_without_being_stored(office: Office) -> None:
    shown = await office.post("/v1/templates/preview", {"subject": "Hi", "html": "<b>{{ first_name }}</b>"}, status=200)
    assert shown["warnings"] == ["first_name is not a field that templates have; there is contact.first_name."]
    assert (await office.get("/v1/templates"))["items"] == []


async def test_a_preview_leaves_nothing_behind_for_the_next(office: Office) -> None:
    html = "{% set all = contact.attributes %}{{ all.update({'city': 'Rome'}) }}{{ all.city }}"
    refused = await office.post("/v1/templates/preview", {"subject": "Hi", "html": html}, status=422)
    assert refused["code"] == "template_invalid", "what changes a value is hidden from templates"
    reads = {"subject": "Hi", "html": "{{ contact.attributes }}"}
    assert "Rome" not in (await office.post("/v1/templates/preview", reads, status=200))["html"]


async def test_a_preview_for_a_contact_that_does_not_exist_answers_404(office: Office, sign_in: Any) -> None:
    template = await office.a_template()
    stranger = Office(office.client, sign_in(), uuid4())
    theirs = await stranger.a_contact()
    for contact_id in (str(uuid4()), theirs["id"]):
        answer = await office.client.post(
            f"/v1/templates/{template['id']}/preview", json={"contact_id": contact_id}, headers=office.headers
        )
        assert (answer.status_code, answer.json()["code"]) == (404, "contact_not_found")


async def test_a_template_is_deleted_unless_a_scheduled_campaign_needs_it(office: Office) -> None:
    template = await office.a_template()
    campaign = await office.a_campaign(template_id=template["id"])
    await office.act(campaign, "send")
    path = f"/v1/templates/{template['id']}"
    refused = await office.client.delete(path, headers=office.headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "template_in_use")
    await office.act(campaign, "unschedule")
    assert (await office.client.delete(path, headers=office.headers)).status_code == 204
    assert (await office.client.get(path, headers=office.headers)).status_code == 404
    again = await office.client.post(f"/v1/campaigns/{campaign['id']}/actions/send", headers=office.headers)
    assert (again.status_code, again.json()["code"], again.json()["field"]) == (422, "unknown_reference", "template_id")


async def test_templates_are_listed_newest_first_in_pages(office: Office) -> None:
    ids = [(await office.a_template(name=f"T{number}"))["id"] for number in range(5)]
    first = await office.get("/v1/templates?limit=3")
    rest = await office.get(f"/v1/templates?limit=3&cursor={first['next_cursor']}")
    assert [item["id"] for item in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None


async def test_templates_of_another_organisation_do_not_exist(office: Office, sign_in: Any) -> None:
    template = await office.a_template()
    stranger = sign_in()
    path = f"/v1/templates/{template['id']}"
    for answer in (
        await office.client.get(path, headers=stranger),
        await office.client.patch(path, json={"name": "x"}, headers=stranger),
        await office.client.delete(path, headers=stranger),
        await office.client.post(f"{path}/preview", headers=stranger),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "template_not_found")
    assert (await office.client.get("/v1/templates", headers=stranger)).json()["items"] == []


async def test_a_viewer_looks_and_does_not_touch(office: Office, sign_in: Any) -> None:
    template = await office.a_template()
    viewer = sign_in(office.organisation_id, Role.VIEWER)
    path = f"/v1/templates/{template['id']}"
    assert (await office.client.get(path, headers=viewer)).status_code == 200
    assert (await office.client.post(f"{path}/preview", headers=viewer)).status_code == 200
    body = {"name": "x", "subject": "x", "html": "x"}
    for answer in (
        await office.client.post("/v1/templates", json=body, headers=viewer),
        await office.client.patch(path, json={"name": "x"}, headers=viewer),
        await office.client.delete(path, headers=viewer),
    ):
        assert (answer.status_code, answer.json()["permission"]) == (403, "templates:write")
    assert (await office.client.get(path)).status_code == 401
