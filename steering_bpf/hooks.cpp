// SPDX-License-Identifier: BSD-3-Clause
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "hooks.skel.h"
#include "steering_bpf/firewall.hpp"
#include "steering_bpf/hooks.h"
#include "steering_bpf/libbpf_log.hpp"

namespace millrace::steering {
namespace {

static_assert(sizeof(millrace_hook::table) == most_name + 1);
constexpr uint8_t ipv4 = 2;  // NFPROTO_IPV4

template <size_t n>
std::string text(const char (&value)[n]) {
    return {value, strnlen(value, n)};
}

// "nf_confirm [nf_conntrack]": the module's name follows, a compiler's suffix may.
std::string function_of(const std::string& name) {
    return name.substr(0, name.find_first_of(" ."));
}

Hook hook_of(const millrace_hook& raw_hook) {
    Hook hook;
    hook.where = raw_hook.family == MILLRACE_HOOK_NETDEV ? Hook::Where::netdev
                 : raw_hook.family == MILLRACE_HOOK_TC   ? Hook::Where::tc
                 : raw_hook.family == ipv4               ? Hook::Where::ipv4
                                                         : Hook::Where::ipv6;
    hook.number = raw_hook.hook;
    hook.ifindex = Ifindex{raw_hook.ifindex};
    hook.priority = raw_hook.priority;
    hook.address = raw_hook.function;
    hook.argument = raw_hook.argument;
    hook.function = function_of(text(raw_hook.name));
    if (hook.where == Hook::Where::tc) {
        hook.kind = Hook::Kind::tc;
        hook.function = raw_hook.type == MILLRACE_OPS_TCX ? "tcx" : "tc";
    } else if (raw_hook.type == MILLRACE_OPS_NFT) {
        hook.kind = Hook::Kind::nft;
        hook.table = text(raw_hook.table);
        hook.chain = text(raw_hook.chain);
        hook.rules = raw_hook.rules;
        hook.drops = raw_hook.drops != 0;
        hook.empty = raw_hook.empty != 0;
    } else if (raw_hook.type == MILLRACE_OPS_BPF) {
        hook.kind = Hook::Kind::bpf;
    }
    return hook;
}

}  // namespace

void HookReader::Close::operator()(bpf_object* o) const {
    bpf_object__close(o);
}

Result<HookReader> HookReader::load() {
    const LibbpfLog log;
    size_t size = 0;
    const void* elf = hooks::elf_bytes(&size);
    std::unique_ptr<bpf_object, Close> object(bpf_object__open_mem(elf, size, nullptr));
    if (!object || bpf_object__load(object.get()) != 0) {
        const int error = errno;
        return fail(fmt::format("the kernel's hooks can't be read ({})", log.tail()), error);
    }
    return HookReader(std::move(object));
}

// Of IPv4 and IPv6 where device is 0.
Status HookReader::run(Ifindex device, Hooks& hooks) {
    std::array<uint64_t, 1> arguments = {raw(device)};
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.ctx_in = arguments.data();
    options.ctx_size_in = sizeof(arguments);
    const uint32_t first_key = 0;
    millrace_hooks summary{};
    if (bpf_prog_test_run_opts(bpf_program__fd(bpf_object__find_program_by_name(object_.get(), "read_hooks")),
                               &options) != 0 ||
        bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object_.get(), "summary"), &first_key,
                            &summary) != 0) {
        return fail("the kernel's hooks can't be read", errno);
    }
    const uint32_t generation = summary.generation != 0 ? summary.generation : summary.cursor;
    if (raw(device) == 0) {
        hooks.net = summary.net;
        hooks.generation = generation;
    } else if (summary.no_device == 0) {
        hooks.devices.emplace_back(device, summary.dev);
    }
    if (hooks.generation != generation) {
        return fail("the firewall's rules changed while they were read", EAGAIN);
    }
    hooks.incomplete = hooks.incomplete || summary.incomplete != 0;
    const int map = bpf_object__find_map_fd_by_name(object_.get(), "hooks");
    for (uint32_t i = 0; i < summary.count && i < MILLRACE_MOST_HOOKS; ++i) {
        millrace_hook found{};
        if (bpf_map_lookup_elem(map, &i, &found) != 0) {
            return fail("the kernel's hooks can't be read", errno);
        }
        hooks.all.push_back(hook_of(found));
        // One bit of a generation is back with the second transaction: too little to vouch for no rules.
        hooks.all.back().empty = hooks.all.back().empty && summary.generation != 0;
    }
    return {};
}

Result<Hooks> HookReader::read(std::span<const Ifindex> ports) {
    Hooks hooks;
    Status done = run(Ifindex{}, hooks);
    for (const Ifindex port : ports) {
        if (done && raw(port) != 0) {
            done = run(port, hooks);
        }
    }
    // A generation that came while the last list was read.
    Hooks again;
    if (done) {
        done = run(Ifindex{}, again);
    }
    if (!done) {
        return tl::unexpected(done.error());
    }
    if (again.generation != hooks.generation) {
        return fail("the firewall's rules changed while they were read", EAGAIN);
    }
    return hooks;
}

}  // namespace millrace::steering
