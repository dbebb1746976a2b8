// SPDX-License-Identifier: BSD-3-Clause
// Asks the kernel's own structures what it would do with a port's frames where netlink does not tell: which
// device above the port takes them before they are routed, in whatever network namespace that one is. What
// the classifier needs to ask the same for each packet goes to it by PortMaps::set_judgement(). Sees the
// network namespace of the calling thread. Any thread, one at a time. Move-only.
#pragma once

#include <memory>
#include <string>

#include "millrace/abi.h"
#include "millrace/result.hpp"
#include "millrace/types.hpp"

struct bpf_object;

namespace millrace::steering {

struct Taker {
    std::string text{};            // of what takes the frames, in the operator's words; empty = nothing does
    millrace_judgement macvlan{};  // where it is one, and this kernel has types for it
    bool of_netlink = false;       // bridge, bond or team: IFLA_MASTER of the port says the same
};

class Judge {
  public:
    // Error: the kernel has no BTF (CONFIG_DEBUG_INFO_BTF), or forbids programs that read its memory.
    static Result<Judge> load();
    // Error: no such device here, or the program doesn't run.
    Result<Taker> taker_of(Ifindex ifindex);

  private:
    struct Close {
        void operator()(bpf_object* o) const;
    };
    explicit Judge(std::unique_ptr<bpf_object, Close> object) : object_(std::move(object)) {}
    static Result<std::unique_ptr<bpf_object, Close>> load_object();

    std::unique_ptr<bpf_object, Close> object_;
    uint64_t looked_for_types_of_ = 0;  // a macvlan handler that came after the program was loaded
};

}  // namespace millrace::steering
