"""Recognition memory by a language model: which of the facts does the question need?"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import EndpointError
from mnemos.text.llm import LanguageModel
from mnemos.text.prompts.hipporag2 import Recognised, read_recognised, recognition_messages
from mnemos.text.recipes.filters import Candidate

log = logging.getLogger(__name__)


def recognise(llm: LanguageModel, query: str, items: Sequence[Candidate]) -> NDArray[np.float64] | None:
    """[n] 1 for the facts that the model chooses, 0 for the others; None if it does not answer."""
    try:
        reply = llm.structured(recognition_messages(query, [item.text for item in items]), Recognised)
    except EndpointError as why:
        log.warning("facts are recognised without the model (%s)", why)
        return None
    kept = np.zeros(len(items))
    kept[read_recognised(reply, len(items))] = 1
    return kept
