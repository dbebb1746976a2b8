// SPDX-License-Identifier: BSD-3-Clause
// The configuration file's content as values. Defaults are here and nowhere else.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "millrace/abi.h"
#include "millrace/types.hpp"

namespace millrace {

// May VLAN tags be taken off the port's frames before the classifier sees them?
enum class VlanTags : uint8_t {
    automatic,  // as device, driver and classifier are; where they may, the port stays in the kernel
    none,       // no: the operator says that the link carries no tags
};

// Sockets that the driver fills without a copy.
enum class ZeroCopy : uint8_t {
    automatic,  // where the driver has them, and is known to forward with them
    always,     // the port is not served without
    never,      // the kernel copies, which every driver can
};

struct PortConfig {
    std::string name;     // netdev
    uint16_t queues = 1;  // receive queues 0 .. queues-1 are served; 1 .. MILLRACE_MAX_QUEUES
    ZeroCopy zero_copy = ZeroCopy::automatic;
    VlanTags vlan_tags = VlanTags::automatic;
    bool operator==(const PortConfig&) const = default;
};

enum class IdlePolicy : uint8_t {
    spin,   // poll without pause: lowest latency, a whole core
    sleep,  // wait in poll() once nothing came for idle_after_us
};

enum class Scheduling : uint8_t {
    automatic,  // realtime where that starves nobody, else nice
    realtime,   // SCHED_RR: before all ordinary tasks of the core
    nice,       // -20
    normal,     // as any task
};

struct WorkerConfig {
    std::vector<uint16_t> cores;  // one worker for each; CPU numbers
    IdlePolicy idle = IdlePolicy::sleep;
    uint32_t idle_after_us = 50;  // microseconds without a packet before a worker sleeps
    Scheduling scheduling = Scheduling::automatic;
    bool operator==(const WorkerConfig&) const = default;
};

struct SizeConfig {
    uint32_t mbufs = 0;        // packet buffers of 4096 bytes, shared by all ports; 0: see packet_buffers()
    uint16_t ring = 2048;      // descriptors of each AF_XDP ring
    uint16_t punt_ring = 512;  // packets of a port waiting for the kernel to carry on; as many to answer
    uint32_t fib4_megabytes = 128;  // limit of the IPv4 FIB beside its root; memory is touched as it is used
    uint32_t fib6_megabytes = 128;  // the same, IPv6
    uint32_t groups = 65536;        // nexthop groups
    uint32_t adjacencies = 65536;
    bool operator==(const SizeConfig&) const = default;
};

struct PuntConfig {
    // Packets a second and port that the kernel is given to answer, resolve or discard (no route, unresolved,
    // unreachable, ...). Its own limit of ICMP errors is 1000 a second for the whole router.
    uint32_t rate = 20000;
    bool operator==(const PuntConfig&) const = default;
};

// What the classifier leaves in the kernel although it is transit.
struct KeepConfig {
    std::vector<Prefix> prefixes;                        // source or destination in one of these
    std::vector<uint8_t> protocols;                      // IP protocol numbers
    std::vector<std::pair<uint8_t, uint16_t>> l4_ports;  // {6 or 17, port}; source or destination
    bool operator==(const KeepConfig&) const = default;
};

enum class FirewallMode : uint8_t {
    respect,  // what netfilter and tc programs would see is left to the kernel
    bypass,
};

struct FirewallConfig {
    FirewallMode mode = FirewallMode::respect;
    std::vector<std::string> ports{};   // bypass: what comes in there; none = everywhere
    std::vector<Family> families{};     // bypass: of these; none = both
    std::vector<std::string> ignore{};  // tables of nftables that transit may miss: "inet accounting"
    bool operator==(const FirewallConfig&) const = default;
};

struct SyncConfig {
    // Bytes of notifications that may wait in the kernel; what does not fit is lost, and costs a new dump.
    uint32_t receive_buffer = 64U << 20;
    bool operator==(const SyncConfig&) const = default;
};

struct SteeringConfig {
    std::string pin_root = MILLRACE_PIN_ROOT;
    uint32_t heartbeat_timeout_ms = 50;
    // What has waited for longer, while its thread stood still, is discarded. Leaving a port to the kernel
    // loses nothing, so a short doubt is enough for that; discarding needs more. The mirror may be as late.
    static constexpr uint32_t least_late_ms = 200;
    [[nodiscard]] uint32_t late_ms() const { return std::max(heartbeat_timeout_ms, least_late_ms); }
    bool operator==(const SteeringConfig&) const = default;
};

// The comparison of kernel, mirror and fast path in the background.
struct AuditConfig {
    double cpu_percent = 1.0;  // of one core, at most; 0 = none, 100 = as fast as it goes
    bool operator==(const AuditConfig&) const = default;
};

struct MetricsConfig {
    // "ADDRESS:PORT", IPv4 (Debian's civetweb has nothing else): where Prometheus finds /metrics. Empty:
    // nowhere.
    std::string listen = "127.0.0.1:10179";
    bool operator==(const MetricsConfig&) const = default;
};

struct Config {
    std::vector<PortConfig> ports;
    WorkerConfig workers;
    SizeConfig sizes;
    PuntConfig punt;
    KeepConfig keep;
    FirewallConfig firewall;
    SyncConfig sync;
    SteeringConfig steering;
    AuditConfig audit;
    MetricsConfig metrics;
    std::string control_socket = "/run/millrace/millrace.sock";
    std::string log_level = "info";  // trace, debug, info, warn, error
    bool operator==(const Config&) const = default;
};

}  // namespace millrace
