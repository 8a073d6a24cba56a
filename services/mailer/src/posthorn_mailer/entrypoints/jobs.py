"""What rings the workers' bell, and what they do then."""

from __future__ import annotations
