"""A sample audience and a sample newsletter."""

from __future__ import annotations

import csv
import io

_FIRST = (
    "Ada", "Alan", "Barbara", "Chien-Shiung", "Dorothy", "Edsger", "Émilie", "Grace", "Hedy", "Jürgen", "Katherine",
    "Lise", "Margaret", "Maryam", "Niels", "Noor", "Radia", "Rosalind", "Søren", "Tim", "Tu", "Vint", "Wangari",
)  # fmt: skip
_LAST = (
    "Borg", "Byron", "Curie", "Franklin", "Hopper", "Johnson", "Lamarr", "Liskov", "Lovelace", "Mirzakhani", "Müller",
    "Okafor", "Perlman", "Rossi", "Sato", "Turing", "Youyou",
)  # fmt: skip
_DOMAINS = ("example.com", "example.com", "example.com", "example.org", "example.org", "example.net")
PLANS = ("free", "free", "team", "business")
_CITIES = ("Lisbon", "Nairobi", "Kraków", "Osaka", "Quito", "Tromsø")


def contacts_csv(count: int, *, run: int) -> bytes:
    """Return a CSV file of `count` made-up contacts; addresses of different runs differ, all are unroutable."""
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(["email", "first_name", "last_name", "plan", "city"])
    for number in range(count):
        first, last = _FIRST[number % len(_FIRST)], _LAST[number % len(_LAST)]
        domain = _DOMAINS[number % len(_DOMAINS)]
        plan, city = PLANS[number % len(PLANS)], _CITIES[number % len(_CITIES)]
        rows.writerow([f"reader.{number:04}.{run}@{domain}", first, last, plan, city])
    return text.getvalue().encode()


def subject(run: int) -> str:
    """Return the newsletter's subject; it contains `subject_mark(run)`."""
    return "{{ contact.first_name }}, the post has arrived: " + subject_mark(run)


def subject_mark(run: int) -> str:
    """Return what only the subjects of this run contain."""
    return f"letter no. {run}, with love"


HTML = """\
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <style>
    body { font-family: Georgia, serif; background: #f4efe6; color: #2b2a28; margin: 0; }
    .page { max-width: 34rem; margin: 0 auto; padding: 2rem; background: #ffffff; }
    h1 { font-weight: normal; color: #8c2f1b; }
    .button { display: inline-block; background: #8c2f1b; color: #ffffff; padding: 0.6rem 1.2rem; }
    .small { color: #77736c; font-size: 0.85rem; }
  </style>
</head>
<body>
  <div class="page">
    <h1>Dear {{ contact.first_name }} {{ contact.last_name }},</h1>
    <p>this letter found its way to {{ contact.attributes.city }} through five services and two queues.</p>
    {% if contact.attributes.plan == "business" %}
    <p>Your business plan comes with a horn of polished brass.</p>
    {% else %}
    <p>Your {{ contact.attributes.plan }} plan comes with our best wishes.</p>
    {% endif %}
    <p><a class="button" href="https://example.com/news/autumn">Read the autumn news</a></p>
    <p>Or look at <a href="https://example.com/plans">all plans</a>, or
       <a href="https://example.org/learn">learn how it works</a>.</p>
    <p class="small"><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>
  </div>
</body>
</html>
"""
