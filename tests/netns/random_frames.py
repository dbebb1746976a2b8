# SPDX-License-Identifier: BSD-3-Clause
"""20,000 random frames over random routes, in a router of the kernel alone and in one with millrace."""

import sys

from lab.cases import build_dir
from lab.oracle import random_run

if __name__ == "__main__":
    sys.exit(random_run.run(build_dir()))
