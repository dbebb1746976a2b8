# SPDX-License-Identifier: BSD-3-Clause
"""All drills, in the order of the table."""

from . import cores, deaths, egress, ports, switches

DRILLS = (*deaths.DRILLS, *cores.DRILLS[:2], *egress.DRILLS, *ports.DRILLS, *cores.DRILLS[2:4], *switches.DRILLS,
          *cores.DRILLS[4:])
