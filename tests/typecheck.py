"""The runtime type checker of the tests: every annotation of fathomseg, shapes included, is checked at every call."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""An int will do where a float is asked for, as PEP 484 says."""
