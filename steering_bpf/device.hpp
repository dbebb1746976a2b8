// SPDX-License-Identifier: BSD-3-Clause
// What a netdev's driver is and can, what it does with VLAN tags, and switching that. In the network
// namespace of the calling thread; any thread that may wait for whoever holds the kernel's network
// configuration (RTNL). What the kernel doesn't know how to say reads as no.
#pragma once

#include <cstdint>
#include <string>

#include "millrace/abi.h"
#include "millrace/result.hpp"
#include "millrace/types.hpp"

namespace millrace::steering {

// Of both kinds of tags, as bits of MILLRACE_RESTORE_*: taken off received frames now, and can be switched.
struct TagOffload {
    uint32_t on = 0;
    uint32_t changeable = 0;
};
// Error: the device is gone, or the kernel refuses to say.
Result<TagOffload> tag_offload(const std::string& port);
// which: MILLRACE_RESTORE_* to switch. Error: the driver refuses, or does as if and changes nothing.
Status switch_tag_offload(const std::string& port, uint32_t which, bool on);

// Its name; empty: it has none, or the device is gone.
std::string driver(const std::string& port);

// It gives zero-copy AF_XDP sockets, or says so (netdev family, Linux 6.3).
bool has_zero_copy(Ifindex ifindex);

// A bus has it; else it is software (veth, TAP, macvlan, ...), whose frames are socket buffers that may carry
// their tag beside them whatever the offloads say.
bool has_hardware(Ifindex ifindex);

// The driver tells a program in native mode which tag it has taken off (netdev family, Linux 6.8).
bool tells_tags(Ifindex ifindex);

}  // namespace millrace::steering
