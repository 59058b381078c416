"""routes.yaml -> a site ready to run, or every fault in it as ``file:line:column: text`` with a suggestion.

``load`` for those who run a site, ``check`` for those who write one, ``survey`` for those who must
work beside a broken one; ``steps``, ``adapters``, ``documentation`` and ``json_schema``
for those who read about it. Raises ConfigurationError and nothing else.
"""

from bus.config.components import adapters, documentation, steps
from bus.config.loading import Loaded, check, load, survey
from bus.config.schema import json_schema

__all__ = ["Loaded", "adapters", "check", "documentation", "json_schema", "load", "steps", "survey"]
