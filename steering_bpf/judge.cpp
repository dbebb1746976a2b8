// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/judge.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "judge.skel.h"
#include "steering_bpf/judge.h"
#include "steering_bpf/libbpf_log.hpp"

namespace millrace::steering {
namespace {

struct Known {
    std::string_view handler;
    std::string_view what;
    bool of_netlink;
};
// Handlers of netdev_rx_handler_register that operators meet. Any other is shown by its function's name.
constexpr Known known_handlers[] = {{"macvlan_handle_frame", "macvlan", false},
                                    {"ipvlan_handle_frame", "an ipvlan or ipvtap", false},
                                    {"br_handle_frame", "a bridge", true},
                                    {"bond_handle_frame", "a bond", true},
                                    {"team_handle_frame", "a team", true},
                                    {"netdev_frame_hook", "Open vSwitch", true},
                                    {"hsr_handle_frame", "an HSR or PRP device", false},
                                    {"macsec_handle_frame", "a MACsec device", false}};

std::string macvlan_text(uint32_t judged) {
    switch (judged) {
        case MILLRACE_MACVLAN_HARMLESS:
            return "";
        case MILLRACE_MACVLAN_MANY:
            return fmt::format("more than {} macvlans or macvtaps may take its frames",
                               MILLRACE_MOST_MACVLANS);
        case MILLRACE_MACVLAN_PASSTHRU:
            return "a macvlan or macvtap in mode passthru takes its frames";
        case MILLRACE_MACVLAN_SOURCE:
            return "a macvlan or macvtap in mode source takes its frames";
        case MILLRACE_MACVLAN_SAME_MAC:
            return "a macvlan or macvtap with the port's MAC address takes its frames";
        default:
            return "a macvlan or macvtap of an unknown mode takes its frames";
    }
}

// "macvlan_handle_frame [macvlan]": the module's name follows, a compiler's suffix may.
std::string_view function_of(const millrace_judged& found) {
    const std::string_view name(found.handler, strnlen(found.handler, sizeof(found.handler)));
    return name.substr(0, name.find_first_of(" ."));
}

Taker taker(const millrace_judged& found) {
    if (found.rx_handler == 0) {
        return {};
    }
    const std::string_view function = function_of(found);
    const auto* known = std::find_if(std::begin(known_handlers), std::end(known_handlers),
                                     [&](const Known& k) { return k.handler == function; });
    if (known == std::end(known_handlers)) {
        return {.text = fmt::format("the kernel's {} takes its frames", function.empty() ? "?" : function)};
    }
    if (known == std::begin(known_handlers)) {
        return {.text = macvlan_text(found.macvlan), .macvlan = found.macvlan_fields};
    }
    return {.text = fmt::format("{} takes its frames", known->what), .of_netlink = known->of_netlink};
}

}  // namespace

void Judge::Close::operator()(bpf_object* o) const {
    bpf_object__close(o);
}

Result<std::unique_ptr<bpf_object, Judge::Close>> Judge::load_object() {
    const LibbpfLog log;
    size_t size = 0;
    const void* elf = judge::elf_bytes(&size);
    std::unique_ptr<bpf_object, Close> object(bpf_object__open_mem(elf, size, nullptr));
    if (!object || bpf_object__load(object.get()) != 0) {
        const int error = errno;
        return fail(fmt::format("the kernel's structures can't be read ({})", log.tail()), error);
    }
    return object;
}

Result<Judge> Judge::load() {
    auto object = load_object();
    if (!object) {
        return tl::unexpected(object.error());
    }
    return Judge(std::move(*object));
}

Result<Taker> Judge::taker_of(Ifindex ifindex) {
    const uint32_t first_key = 0;
    for (;;) {
        std::array<uint64_t, 1> arguments = {raw(ifindex)};
        LIBBPF_OPTS(bpf_test_run_opts, options);
        options.ctx_in = arguments.data();
        options.ctx_size_in = sizeof(arguments);
        millrace_judged found{};
        if (bpf_prog_test_run_opts(bpf_program__fd(bpf_object__find_program_by_name(object_.get(), "judge")),
                                   &options) != 0 ||
            bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object_.get(), "judged"), &first_key,
                                &found) != 0) {
            return fail("the kernel's structures can't be read", errno);
        }
        if (found.found == 0) {
            return fail("no such netdev", ENODEV);
        }
        // The types of a module are known only to a program that is loaded after it; only macvlan's are asked
        // for.
        if (found.rx_handler == 0 || found.macvlan != MILLRACE_MACVLAN_UNKNOWN ||
            function_of(found) != known_handlers[0].handler || looked_for_types_of_ == found.rx_handler) {
            return taker(found);
        }
        looked_for_types_of_ = found.rx_handler;
        if (auto again = load_object()) {
            object_ = std::move(*again);
        }
    }
}

}  // namespace millrace::steering
