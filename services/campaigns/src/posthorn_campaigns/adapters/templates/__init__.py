"""Users' templates: checked, rendered, and made ready for sending."""

from posthorn_campaigns.adapters.templates.confined import ConfinedTemplateEngine
from posthorn_campaigns.adapters.templates.engine import MiniJinjaTemplateEngine

__all__ = ["ConfinedTemplateEngine", "MiniJinjaTemplateEngine"]
