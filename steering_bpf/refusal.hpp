// SPDX-License-Identifier: BSD-3-Clause
// Why the kernel refuses a classifier, in its own words where it has some. Internal to steering_bpf.
#pragma once

#include <string>

#include "millrace/result.hpp"
#include "millrace/types.hpp"
#include "steering_bpf/mode.hpp"

namespace millrace::steering {

// The error of a link that was refused with this errno. A link's creation tells no more than that: the same
// program is asked for once more by netlink, whose answer has the driver's reason. What would be attached
// that way is taken off at once; it leaves all in the kernel.
Error attach_refused(const std::string& port, Ifindex ifindex, int program, Mode mode, int error);

// What may help where native mode is refused, for a netdev of this MTU. Pure.
std::string native_remedy(const std::string& port, int mtu, int error);

}  // namespace millrace::steering
