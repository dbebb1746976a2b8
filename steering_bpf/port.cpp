// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/port.hpp"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <iterator>
#include <set>
#include <vector>

#include "steering_bpf/maps.hpp"
#include "steering_bpf/pins.hpp"

namespace millrace::steering {
namespace {

constexpr uint32_t first_key = 0;
constexpr uint32_t keep_flags = MILLRACE_FLAG_KEEP4 | MILLRACE_FLAG_KEEP6 | MILLRACE_FLAG_KEEP_L4 |
                                MILLRACE_FLAG_KEEP_PROTOCOL | MILLRACE_FLAG_KEEP_ALL4 |
                                MILLRACE_FLAG_KEEP_ALL6;

MapKey keep_key(const Prefix& prefix) {
    millrace_lpm6 lpm{};  // the shorter millrace_lpm4 begins alike
    lpm.prefixlen = prefix.length;
    std::copy_n(prefix.address.bytes.begin(), prefix.address.size(), lpm.addr);
    return std::bit_cast<MapKey>(lpm);
}

}  // namespace

tl::unexpected<Error> PortMaps::failed(const std::string& what, int errno_value) const {
    return fail(fmt::format("port {}: {}", port_, what), errno_value);
}

Result<PortMaps> PortMaps::open(const std::string& port, const std::string& pin_root) {
    PortMaps out(port);
    const auto dir = pin_dir(pin_root, port);
    if (!dir) {
        return tl::unexpected(dir.error());
    }
    const auto now = steering::attached(port, pin_root);
    if (!now) {
        return tl::unexpected(now.error());
    }
    out.attached_ = *now;

    // Before anything is written: a daemon that is refused must leave the one that runs alone.
    out.lock_ = Fd(::open(dir->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!out.lock_ || flock(out.lock_.get(), LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK ? out.failed("another millraced serves it; stop that one first", 0)
                                    : out.failed(fmt::format("{}: cannot lock", *dir), errno);
    }

    Fd xsks;  // only checked, as the next: libxdp finds it by itself
    Fd state;
    const std::array<std::pair<MapId, Fd*>, map_count> wanted = {{{MapId::xsks, &xsks},
                                                                  {MapId::config, &out.config_},
                                                                  {MapId::heartbeat, &out.heartbeat_map_},
                                                                  {MapId::counters, &out.counters_},
                                                                  {MapId::local4, &out.local4_},
                                                                  {MapId::local6, &out.local6_},
                                                                  {MapId::keep4, &out.keep4_},
                                                                  {MapId::keep6, &out.keep6_},
                                                                  {MapId::keep_l4, &out.keep_l4_},
                                                                  {MapId::judgement, &out.judgement_},
                                                                  {MapId::firewall, &out.firewall_},
                                                                  {MapId::state, &state}}};
    for (const auto& [id, fd] : wanted) {
        auto map = open_map(*dir, id);
        if (!map) {
            return out.failed(map.error().what, map.error().code);
        }
        *fd = std::move(*map);
    }
    void* mapped = mmap(nullptr, sizeof(millrace_heartbeat), PROT_READ | PROT_WRITE, MAP_SHARED,
                        out.heartbeat_map_.get(), 0);
    if (mapped == MAP_FAILED) {
        return out.failed(MILLRACE_MAP_HEARTBEAT ": cannot map", errno);
    }
    out.heartbeat_.reset(static_cast<millrace_heartbeat*>(mapped));
    return out;
}

void PortMaps::Unmap::operator()(millrace_heartbeat* p) const {
    munmap(p, sizeof(*p));
}

Result<millrace_steer_config> PortMaps::config() const {
    return read_config(config_.get());
}

Status PortMaps::write_config(const millrace_steer_config& config) {
    if (bpf_map_update_elem(config_.get(), &first_key, &config, BPF_ANY) != 0) {
        return failed(MILLRACE_MAP_CONFIG ": cannot write", errno);
    }
    return {};
}

Status PortMaps::configure(const millrace_steer_config& wanted) {
    if (wanted.max_frame > MILLRACE_MAX_FRAME) {
        return failed(fmt::format("max_frame {} is above {}", wanted.max_frame, MILLRACE_MAX_FRAME), 0);
    }
    auto now = config();
    if (!now) {
        return tl::unexpected(now.error());
    }
    millrace_steer_config merged = wanted;
    merged.flags = (wanted.flags & ~keep_flags) | (now->flags & keep_flags);
    std::copy(std::begin(now->keep_protocol), std::end(now->keep_protocol), merged.keep_protocol);
    return write_config(merged);
}

Status PortMaps::enable(bool on) {
    auto now = config();
    if (!now) {
        return tl::unexpected(now.error());
    }
    now->flags = on ? now->flags | MILLRACE_FLAG_ENABLED : now->flags & ~MILLRACE_FLAG_ENABLED;
    return write_config(*now);
}

Status PortMaps::set_mac(const MacAddress& mac) {
    auto now = config();
    if (!now) {
        return tl::unexpected(now.error());
    }
    std::copy(mac.bytes.begin(), mac.bytes.end(), now->mac);
    return write_config(*now);
}

Status PortMaps::set_keep_ports(const KeepConfig& keep) {
    std::vector<uint64_t> words(MILLRACE_KEEP_L4_WORDS);
    for (const auto& [protocol, port] : keep.l4_ports) {
        if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) {
            return failed(
                fmt::format("keep: protocol {} has no ports that can be kept, only 6 and 17 have", protocol),
                0);
        }
        words[MILLRACE_KEEP_L4_INDEX(protocol == IPPROTO_UDP, port)] |= MILLRACE_KEEP_L4_BIT(port);
    }
    for (uint32_t i = 0; i < words.size(); ++i) {
        if (bpf_map_update_elem(keep_l4_.get(), &i, &words[i], BPF_ANY) != 0) {
            return failed(MILLRACE_MAP_KEEP_L4 ": cannot write", errno);
        }
    }
    return {};
}

namespace {

void take_protocols(const KeepConfig& keep, millrace_steer_config& config) {
    std::fill(std::begin(config.keep_protocol), std::end(config.keep_protocol), 0);
    for (const uint8_t protocol : keep.protocols) {
        config.keep_protocol[protocol / 64] |= 1ULL << (protocol % 64);
    }
    config.flags |= keep.l4_ports.empty() ? 0 : MILLRACE_FLAG_KEEP_L4;
    config.flags |= keep.protocols.empty() ? 0 : MILLRACE_FLAG_KEEP_PROTOCOL;
}

}  // namespace

// The flags come last: until then what is new has no effect where the policy was empty before.
Status PortMaps::set_keep(const KeepConfig& keep) {
    auto now = config();
    if (!now) {
        return tl::unexpected(now.error());
    }
    std::set<MapKey> v4;
    std::set<MapKey> v6;
    for (const Prefix& prefix : keep.prefixes) {
        (prefix.address.family == Family::ipv4 ? v4 : v6).insert(keep_key(prefix));
    }
    if (auto ports = set_keep_ports(keep); !ports) {
        return ports;
    }
    if (const int error = replace_keys(keep4_.get(), v4); error != 0) {
        return failed(fmt::format("keep: cannot store {} IPv4 prefixes", v4.size()), error);
    }
    if (const int error = replace_keys(keep6_.get(), v6); error != 0) {
        return failed(fmt::format("keep: cannot store {} IPv6 prefixes", v6.size()), error);
    }
    now->flags &= ~keep_flags;
    now->flags |= v4.empty() ? 0 : MILLRACE_FLAG_KEEP4;
    now->flags |= v6.empty() ? 0 : MILLRACE_FLAG_KEEP6;
    take_protocols(keep, *now);
    return write_config(*now);
}

Status PortMaps::set_keep_protocols(const KeepConfig& keep) {
    auto now = config();
    if (!now) {
        return tl::unexpected(now.error());
    }
    if (auto ports = set_keep_ports(keep); !ports) {
        return ports;
    }
    now->flags &= ~(MILLRACE_FLAG_KEEP_L4 | MILLRACE_FLAG_KEEP_PROTOCOL);
    take_protocols(keep, *now);
    return write_config(*now);
}

Status PortMaps::update_keep(Family family, std::span<const Prefix> prefixes, bool all) {
    const bool v4 = family == Family::ipv4;
    const uint32_t flag = v4 ? MILLRACE_FLAG_KEEP4 : MILLRACE_FLAG_KEEP6;
    const uint32_t all_flag = v4 ? MILLRACE_FLAG_KEEP_ALL4 : MILLRACE_FLAG_KEEP_ALL6;
    auto now = config();
    if (!now) {
        return tl::unexpected(now.error());
    }
    now->flags |= all_flag;
    if (auto written = write_config(*now); !written) {
        return written;
    }
    std::set<MapKey> keys;
    std::transform(prefixes.begin(), prefixes.end(), std::inserter(keys, keys.end()), keep_key);
    if (const int error = replace_keys(v4 ? keep4_.get() : keep6_.get(), keys); error != 0) {
        return failed(fmt::format("keep: cannot store {} {} prefixes", keys.size(), v4 ? "IPv4" : "IPv6"),
                      error);
    }
    now->flags &= ~(flag | all_flag);
    now->flags |= (keys.empty() ? 0 : flag) | (all ? all_flag : 0);
    return write_config(*now);
}

Status PortMaps::set_local(const LocalTable& table) {
    const int outer = table.family() == Family::ipv4 ? local4_.get() : local6_.get();
    const int inner = table.fd();
    if (bpf_map_update_elem(outer, &first_key, &inner, BPF_ANY) != 0) {
        return failed(fmt::format("cannot set the table of own {} addresses",
                                  table.family() == Family::ipv4 ? "IPv4" : "IPv6"),
                      errno);
    }
    return {};
}

Status PortMaps::set_firewall(const millrace_firewall& firewall) {
    if (bpf_map_update_elem(firewall_.get(), &first_key, &firewall, BPF_ANY) != 0) {
        return failed(MILLRACE_MAP_FIREWALL ": cannot write", errno);
    }
    return {};
}

Status PortMaps::set_judgement(const millrace_judgement& judgement) {
    if (bpf_map_update_elem(judgement_.get(), &first_key, &judgement, BPF_ANY) != 0) {
        return failed(MILLRACE_MAP_JUDGEMENT ": cannot write", errno);
    }
    return {};
}

void PortMaps::beat(uint64_t monotonic_ns) {
    std::atomic_ref(heartbeat_->alive_ns).store(monotonic_ns, std::memory_order_relaxed);
}

Result<Counters> PortMaps::counters() const {
    return read_counters(counters_.get());
}

}  // namespace millrace::steering
