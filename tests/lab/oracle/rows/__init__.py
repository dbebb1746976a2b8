# SPDX-License-Identifier: BSD-3-Clause
"""The rows of the table; importing this registers them."""

from . import (addresses, extensions, header, icmp, kept, learned, links, nexthops, options,  # noqa: F401
               routes, source, too_long, untold)
