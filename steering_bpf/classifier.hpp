// SPDX-License-Identifier: BSD-3-Clause
// The classifier's program in the kernel: of the builds that there are (kernel.bpf.h), the one that sees most
// and that kernel and driver take. Internal to steering_bpf. Any thread, one at a time for a port.
#pragma once

#include <bpf/libbpf.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "millrace/result.hpp"
#include "millrace/types.hpp"
#include "steering_bpf/fd.hpp"
#include "steering_bpf/maps.hpp"
#include "steering_bpf/mode.hpp"

namespace millrace::steering {

class Classifier {
  public:
    // mode: native or generic. maps: to be used in the place of new ones, in the order of MapId; none: new
    // ones.
    static Result<Classifier> load(const std::string& port, Ifindex ifindex, Mode mode,
                                   std::span<const Fd> maps = {});

    [[nodiscard]] int fd() const;
    [[nodiscard]] int map(const char* name) const;
    // What is to be written down of it: all but what was switched off for it.
    [[nodiscard]] const millrace_port_state& state() const { return state_; }

  private:
    struct Close {
        void operator()(bpf_object* o) const { bpf_object__close(o); }
    };
    using Object = std::unique_ptr<bpf_object, Close>;
    struct Build;
    static const std::array<Build, 3> builds;

    static Result<Object> load_build(const std::string& port, Ifindex ifindex, const Build& build,
                                     std::span<const Fd> maps);

    Object object_;
    millrace_port_state state_{};
};

}  // namespace millrace::steering
