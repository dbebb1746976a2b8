# SPDX-License-Identifier: BSD-3-Clause
"""The rows of the table; importing this registers them."""

from . import (addresses, extensions, header, icmp, kept, links, nexthops, options, routes,  # noqa: F401
               source, too_long, untold)
