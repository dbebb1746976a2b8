# SPDX-License-Identifier: BSD-3-Clause
"""Random changes of routes, addresses, links and ports, followed by a router with millrace as by one of the kernel alone."""

import sys

from lab.cases import build_dir
from lab.oracle import changes_run

if __name__ == "__main__":
    sys.exit(changes_run.run(build_dir()))
