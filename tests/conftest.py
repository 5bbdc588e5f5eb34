"""How long hypothesis looks: `quick` in every run, always at the same examples; `deep` behind scripts/fuzz."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True, database=None)
settings.register_profile("deep", max_examples=500, deadline=None)
settings.load_profile("quick")
