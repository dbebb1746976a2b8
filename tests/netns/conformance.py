# SPDX-License-Identifier: BSD-3-Clause
"""Every row of the table of a router's behaviours, in a router of the kernel alone and in one with millrace."""

import sys

from lab.cases import build_dir
from lab.oracle import rows, table  # noqa: F401  (rows registers the rows)

if __name__ == "__main__":
    sys.exit(table.run(build_dir()))
