"""One file for each kind of fault; the table of all cases."""

from __future__ import annotations

from typing import Final

from tests.corpus.case import Case
from tests.corpus.kinds import (
    k01_class_list,
    k02_stale,
    k03_settings,
    k04_ids,
    k05_deleted,
    k06_resume,
    k07_decoding,
    k08_shape,
    k09_passed_over,
    k10_annotation,
    k11_hold_out,
    k12_bits,
    k13_text,
    k14_words,
    k15_output,
    k16_smaller,
)

_KINDS: Final = (
    *(k01_class_list, k02_stale, k03_settings, k04_ids, k05_deleted, k06_resume, k07_decoding, k08_shape),
    *(k09_passed_over, k10_annotation, k11_hold_out, k12_bits, k13_text, k14_words, k15_output, k16_smaller),
)

CASES: Final[dict[str, Case]] = {
    f"{number:02d} {case.data}: {case.name}": case for number, kind in enumerate(_KINDS, 1) for case in kind.CASES
}
