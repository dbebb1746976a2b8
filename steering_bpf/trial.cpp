// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/trial.hpp"

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <cerrno>
#include <vector>

#include "steering_bpf/attach.hpp"
#include "steering_bpf/classifier.hpp"
#include "steering_bpf/fd.hpp"
#include "steering_bpf/maps.hpp"
#include "steering_bpf/pins.hpp"

namespace millrace::steering {
namespace {

// The port's, but for the counters.
Result<std::vector<Fd>> maps_of(const std::string& port, const std::string& pin_root) {
    const auto dir = pin_dir(pin_root, port);
    if (!dir) {
        return tl::unexpected(dir.error());
    }
    std::vector<Fd> maps;
    for (size_t id = 0; id < map_count; ++id) {
        if (static_cast<MapId>(id) == MapId::counters) {
            const MapSpec& s = spec(MapId::counters);
            Fd own(bpf_map_create(s.type, s.name, s.key_size, s.value_size, s.entries, nullptr));
            if (!own) {
                return fail("cannot make a map of counters", errno);
            }
            maps.push_back(std::move(own));
            continue;
        }
        auto map = open_map(*dir, static_cast<MapId>(id));
        if (!map) {
            return tl::unexpected(map.error());
        }
        maps.push_back(std::move(*map));
    }
    return maps;
}

Status run(int program, Ifindex ifindex, std::span<const uint8_t> frame) {
    xdp_md context{};
    context.data_end = static_cast<uint32_t>(frame.size());
    context.ingress_ifindex = raw(ifindex);
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<uint32_t>(frame.size());
    options.ctx_in = &context;
    options.ctx_size_in = sizeof(context);
    options.repeat = 1;
    return bpf_prog_test_run_opts(program, &options) == 0
               ? Status{}
               : fail("the kernel does not run the classifier on the frame", errno);
}

}  // namespace

Result<Trial> try_frame(const std::string& port, const std::string& pin_root,
                        std::span<const uint8_t> frame) {
    const auto running = attached(port, pin_root);
    if (!running) {
        return tl::unexpected(running.error());
    }
    const auto ifindex = find_netdev(port);
    if (!ifindex) {
        return tl::unexpected(ifindex.error());
    }
    const auto maps = maps_of(port, pin_root);
    if (!maps) {
        return tl::unexpected(maps.error());
    }
    // One for native mode might be bound to the device.
    const auto classifier = Classifier::load(port, *ifindex, Mode::generic, *maps);
    if (!classifier) {
        return tl::unexpected(classifier.error());
    }
    if (auto ran = run(classifier->fd(), *ifindex, frame); !ran) {
        return tl::unexpected(ran.error());
    }
    const auto counted = read_counters((*maps)[static_cast<size_t>(MapId::counters)].get());
    if (!counted) {
        return tl::unexpected(counted.error());
    }
    for (size_t reason = 0; reason < counted->size(); ++reason) {
        if ((*counted)[reason].packets != 0) {
            return Trial{.reason = static_cast<millrace_steer_reason>(reason),
                         .left_out = running->sees & ~classifier->state().sees};
        }
    }
    return fail("the classifier ran, and counted nothing");
}

}  // namespace millrace::steering
