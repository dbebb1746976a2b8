# SPDX-License-Identifier: BSD-3-Clause
"""The rows of the table; importing this registers them."""

from . import addresses, extensions, header, icmp, kept, nexthops, options, source, too_long  # noqa: F401
