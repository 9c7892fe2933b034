"""All cases, by file."""

import cases_order  # noqa: F401
import cases_time  # noqa: F401
import cases_values  # noqa: F401
import cases_enhanced  # noqa: F401
import cases_derived  # noqa: F401
import cases_headers  # noqa: F401
import cases_series  # noqa: F401
import cases_siemens  # noqa: F401
import cases_vendors  # noqa: F401
from truth import CASES

__all__ = ["CASES"]
