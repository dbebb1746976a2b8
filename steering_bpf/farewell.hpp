// SPDX-License-Identifier: BSD-3-Clause
// Stops the heartbeats of this process's ports when the kernel begins to end the process: kill -9, the OOM
// killer, abort(), exit. Nothing of it is pinned: it goes with its object, or with the process (descriptors
// are closed long after it has done its work). A thread that ends, and exec(), do nothing.
#pragma once

#include <memory>
#include <span>

#include "millrace/result.hpp"

struct bpf_link;
struct bpf_object;

namespace millrace::steering {

class Farewell {
  public:
    // For the calling process, which has several threads by the time that it dies. heartbeats: the ports'
    // maps of that name; may be closed afterwards. Error: the kernel has no BTF, or forbids such programs:
    // then a heartbeat goes stale as that of a process that hangs.
    static Result<Farewell> arm(std::span<const int> heartbeats);

  private:
    struct Close {
        void operator()(bpf_object* object) const;
        void operator()(bpf_link* link) const;
    };
    std::unique_ptr<bpf_object, Close> object_;
    std::unique_ptr<bpf_link, Close> link_;
};

}  // namespace millrace::steering
