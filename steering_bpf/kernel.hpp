// SPDX-License-Identifier: BSD-3-Clause
// What the kernel says about netdevs, their XDP programs and pinned links. Internal to steering_bpf.
// All functions: the network namespace of the calling thread, any thread.
#pragma once

#include <optional>
#include <string>

#include "millrace/result.hpp"
#include "millrace/types.hpp"
#include "steering_bpf/attach.hpp"
#include "steering_bpf/fd.hpp"
#include "steering_bpf/mode.hpp"

namespace millrace::steering {

struct XdpProgram {
    uint32_t id = 0;
    Mode mode = Mode::native;
};
// The program that netdev runs; the driver's before the stack's where there are two.
Result<std::optional<XdpProgram>> xdp_program(const std::string& port, Ifindex ifindex);
// Name of a loaded program, or "?".
std::string program_name(uint32_t id);

// Is it a BPF object of that kind: "map", "prog", "link"? Their information looks alike.
bool is_bpf(int fd, const std::string& kind);

// A pinned XDP link, and whether it still is what its place says.
struct PinnedLink {
    enum class State : uint8_t {
        none,       // nothing pinned
        gone,       // its netdev is deleted: it can never match again
        elsewhere,  // on another netdev or in another network namespace
        attached,   // on the netdev that has the port's name now
    };
    State state = State::none;
    Fd fd;
    Ifindex ifindex{};  // 0 when none or gone
    uint32_t program_id = 0;
    Mode mode = Mode::native;  // where attached
};
// port: name of the netdev it should be on, which need not exist.
Result<PinnedLink> pinned_link(const std::string& path, const std::string& port);
// The link below dir, which is on the port's netdev. Error: it is not, or there is none.
Result<PinnedLink> attached_link(const std::string& dir, const std::string& port);

}  // namespace millrace::steering
