# SPDX-License-Identifier: BSD-3-Clause
"""The rows of the table; importing this registers them."""

from . import header, too_long  # noqa: F401
