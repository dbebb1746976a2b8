# SPDX-License-Identifier: BSD-3-Clause
"""The rows of the table; importing this registers them."""

from . import (addresses, extensions, header, icmp, kept, links, nexthops, options, routes, source,  # noqa: F401
               too_long)
