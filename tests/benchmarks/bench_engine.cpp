// SPDX-License-Identifier: BSD-3-Clause
// Measures the real forwarder on one core, over DPDK's rings, with the packet buffers that the daemon has:
// 60-byte frames to random addresses, so many in flight that they don't sit in the first cache. Beside it, in
// the same run: the same with one route; lookups of the same addresses alone; and a loop that only touches
// each frame and rewrites its MACs, the floor of memory. Prints JSON; `tests/bench engine` makes the table of
// it. Times are CPU seconds of the thread; variants alternate within each round.
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>

#include "dataplane/fib/tables.hpp"
#include "dataplane/forward/forwarder.hpp"
#include "dataplane/port/eal.hpp"
#include "support/cpu_seconds.hpp"
#include "support/frame.hpp"
#include "support/full_table.hpp"

namespace millrace::test {
namespace {

using dataplane::burst_size;
using dataplane::Forwarder;
using dataplane::Tables;
using nlohmann::json;

constexpr unsigned ports = 4;
constexpr unsigned ingress = 0;   // next hops are behind the others
constexpr unsigned passes = 100;  // of all frames, between two rewrites of their TTL
constexpr uint8_t first_ttl = 255;

struct Options {
    size_t prefixes4 = 1'200'000;
    size_t prefixes6 = 300'000;
    uint32_t next_hops = 2048;
    uint64_t seed = 1;
    unsigned in_flight = 8192;
    unsigned rounds = 7;
    uint64_t packets = 8'000'000;  // each time one is measured
};

template <class T>
T must(Result<T> result) {
    if (!result) {
        fmt::print(stderr, "{}\n", result.error().text());
        std::exit(1);
    }
    return std::move(*result);
}

rte_ring* make_ring(const std::string& name, unsigned size) {
    rte_ring* ring =
        rte_ring_create(name.c_str(), size, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ);
    if (ring == nullptr) {
        fmt::print(stderr, "{}: no memory for a ring\n", name);
        std::exit(1);
    }
    return ring;
}

class Bench {
  public:
    explicit Bench(const Options& options)
        : o_(options), random_(options.seed), pool_(must(dataplane::create_packet_pool(o_.in_flight))) {
        for (unsigned p = 0; p < ports; ++p) {
            sent_.push_back(make_ring(fmt::format("sent{}", p), 4 * burst_size));
            const int device =
                rte_eth_from_rings(fmt::format("r{}", p).c_str(), &sent_[p], 1, &sent_[p], 1, 0);
            const rte_eth_conf conf{};
            devices_.push_back(static_cast<uint16_t>(device));
            if (device < 0 || rte_eth_dev_configure(devices_[p], 1, 1, &conf) != 0 ||
                rte_eth_rx_queue_setup(devices_[p], 0, 0, 0, nullptr, pool_.get()) != 0 ||
                rte_eth_tx_queue_setup(devices_[p], 0, 0, 0, nullptr) != 0 ||
                rte_eth_dev_start(devices_[p]) != 0) {
                fmt::print(stderr, "DPDK's ring driver does not start\n");
                std::exit(1);
            }
        }
        frames_.resize(o_.in_flight);
        if (rte_pktmbuf_alloc_bulk(pool_.get(), frames_.data(), o_.in_flight) != 0) {
            fmt::print(stderr, "no {} packet buffers\n", o_.in_flight);
            std::exit(1);
        }
        // As they come back to a pool that is in use: in no order.
        std::shuffle(frames_.begin(), frames_.end(), random_);
    }

    json run(Family family) {
        const size_t prefixes = family == Family::ipv4 ? o_.prefixes4 : o_.prefixes6;
        const auto table = full_table({family, prefixes, o_.next_hops, o_.seed, false});
        Engine full(*this);
        full.load(table);
        Engine single(*this);
        single.load({{Prefix{IpAddress{.family = family}, 0}, 1}});
        fill(family, table);

        json report = {{"prefixes", table.size()}};
        json& rates = report["packets_per_second"];
        const std::pair<const char*, std::function<void()>> variants[] = {
            {"full table", [&] { forward(full); }},
            {"one route", [&] { forward(single); }},
            {"floor", [&] { touch(); }},
            {"lookups", [&] { look_up(full, family); }},
        };
        for (unsigned round = 0; round < o_.rounds; ++round) {
            for (const auto& [name, work] : variants) {
                refresh(family);
                work();  // so that the caches hold what it needs, and not what the last one did
                double seconds = 0;
                uint64_t packets = 0;
                while (packets < o_.packets) {
                    refresh(family);
                    const double start = cpu_seconds();
                    for (unsigned i = 0; i < passes && packets < o_.packets; ++i) {
                        work();
                        packets += o_.in_flight;
                    }
                    seconds += cpu_seconds() - start;
                }
                rates[name].push_back(static_cast<double>(packets) / seconds);
            }
        }
        for (const Engine* engine : {&full, &single}) {
            if (engine->forwarded() == 0 || engine->forwarded() != engine->received()) {
                fmt::print(stderr, "{} of {} frames were forwarded\n", engine->forwarded(),
                           engine->received());
                std::exit(1);
            }
        }
        return report;
    }

  private:
    // A router with a table of its own on the ring devices.
    class Engine {
      public:
        explicit Engine(Bench& bench) : next_hops_(bench.o_.next_hops), counters_(ports) {
            std::vector<PortConfig> configs;
            std::vector<dataplane::TxQueue> tx;
            for (unsigned p = 0; p < ports; ++p) {
                configs.push_back({.name = fmt::format("p{}", p)});
                tx.push_back({bench.devices_[p], 0});
            }
            tables_ = must(Tables::create(configs, SizeConfig{}, 1));
            for (unsigned p = 0; p < ports; ++p) {
                const std::string name = configs[p].name;
                tables_->set_interface({.ifindex = Ifindex{p + 1},
                                        .name = name,
                                        .port = name,
                                        .mac = mac(p),
                                        .mtu = 1500,
                                        .mtu6 = 1500,
                                        .usable = true});
            }
            tables_->quiescence().add_worker(0);
            tables_->quiescence().online(0);
            // Nothing is punted: the rings stay empty.
            forwarder_ = std::make_unique<Forwarder>(
                *tables_, tx, std::vector(ports, dataplane::PuntRings{bench.sent_[0], bench.sent_[0]}),
                counters_);
        }

        void load(const std::vector<std::pair<Prefix, uint32_t>>& table) {
            std::vector<AdjacencyId> adjacencies;
            std::vector<GroupId> groups;
            for (uint32_t hop = 0; hop < next_hops_; ++hop) {
                const unsigned port = 1 + hop % (ports - 1);
                adjacencies.push_back(tables_->create_adjacency());
                tables_->set_adjacency(
                    adjacencies.back(),
                    {Ifindex{port + 1},
                     Reason::forwarded,
                     {{0x02, 1, 0, 0, static_cast<uint8_t>(hop >> 8), static_cast<uint8_t>(hop)}}});
            }
            for (uint32_t hop = 0; hop < next_hops_; ++hop) {
                std::vector<GroupMember> members = {{.adjacency = adjacencies[hop], .weight = 1}};
                if (hop % 16 == 15) {  // some have several, by weight
                    members.push_back({.adjacency = adjacencies[hop - 1], .weight = 3});
                }
                groups.push_back(tables_->create_group());
                tables_->set_group(groups.back(), {Reason::forwarded, members, {}});
            }
            for (const auto& [prefix, hop] : table) {
                tables_->set_route(main_table, prefix, groups[(hop - 1) % next_hops_]);
            }
            tables_->commit();
        }
        Forwarder& forwarder() { return *forwarder_; }
        Tables& tables() { return *tables_; }
        [[nodiscard]] uint64_t received() const { return counters_.port[ingress].rx_packets.read(); }
        [[nodiscard]] uint64_t forwarded() const {
            return counters_.port[ingress].by_reason[static_cast<unsigned>(Reason::forwarded)].read();
        }

      private:
        uint32_t next_hops_;
        dataplane::WorkerCounters counters_;
        std::unique_ptr<Tables> tables_;
        std::unique_ptr<Forwarder> forwarder_;
    };

    static MacAddress mac(unsigned port) { return {{0x02, 0, 0, 0, 0x01, static_cast<uint8_t>(port)}}; }

    // An address within a random prefix for each frame.
    void fill(Family family, const std::vector<std::pair<Prefix, uint32_t>>& table) {
        keys4_.clear();
        keys6_.clear();
        for (rte_mbuf* frame : frames_) {
            const Prefix& prefix = table[random_() % table.size()].first;
            IpAddress to = prefix.address;
            for (unsigned bit = prefix.length; bit < address_bits(family); ++bit) {
                to.bytes[bit / 8] |= static_cast<uint8_t>((random_() & 1) << (7 - bit % 8));
            }
            const Bytes bytes =
                family == Family::ipv4
                    ? Frame()
                          .ethernet({.destination = mac(ingress)})
                          .ipv4({.destination = to})
                          .udp()
                          .payload(18)
                          .bytes()
                    : Frame().ethernet({.destination = mac(ingress)}).ipv6({.destination = to}).udp().bytes();
            rte_pktmbuf_reset(frame);
            std::memcpy(rte_pktmbuf_append(frame, static_cast<uint16_t>(bytes.size())), bytes.data(),
                        bytes.size());
            if (family == Family::ipv4) {
                keys4_.push_back(static_cast<uint32_t>(to.bytes[0]) << 24 |
                                 static_cast<uint32_t>(to.bytes[1]) << 16 |
                                 static_cast<uint32_t>(to.bytes[2]) << 8 | to.bytes[3]);
            } else {
                keys6_.push_back(dataplane::Key::from_bytes(to.bytes.data()));
            }
        }
        values_.resize(frames_.size());
    }
    // Not measured: TTLs that would run out.
    void refresh(Family family) {
        for (rte_mbuf* frame : frames_) {
            auto* ip = rte_pktmbuf_mtod_offset(frame, uint8_t*, 14);
            if (family == Family::ipv4) {
                auto* header = reinterpret_cast<rte_ipv4_hdr*>(ip);
                header->time_to_live = first_ttl;
                header->hdr_checksum = 0;
                header->hdr_checksum = rte_ipv4_cksum(header);
            } else {
                ip[7] = first_ttl;
            }
        }
    }
    // What was sent takes the place of what was received.
    void take_back(size_t at) {
        for (unsigned p = 1; p < ports; ++p) {
            at +=
                rte_ring_dequeue_burst(sent_[p], reinterpret_cast<void**>(&frames_[at]), burst_size, nullptr);
        }
    }
    void forward(Engine& engine) {
        for (size_t i = 0; i < frames_.size(); i += burst_size) {
            engine.forwarder().process(std::span(&frames_[i], burst_size), PortId{ingress});
            take_back(i);
        }
    }
    void touch() {
        constexpr std::array<uint8_t, 12> macs = {0x02, 1, 0, 0, 0, 1, 0x02, 0, 0, 0, 1, 1};
        constexpr unsigned ahead = 8;
        for (size_t i = 0; i < frames_.size(); i += burst_size) {
            for (size_t j = 0; j < burst_size; ++j) {
                if (i + j + ahead < frames_.size()) {
                    rte_prefetch0(rte_pktmbuf_mtod(frames_[i + j + ahead], const void*));
                }
                std::memcpy(rte_pktmbuf_mtod(frames_[i + j], uint8_t*), macs.data(), macs.size());
            }
            rte_eth_tx_burst(devices_[1], 0, &frames_[i], burst_size);
            take_back(i);
        }
    }
    void look_up(Engine& engine, Family family) {
        for (size_t i = 0; i < frames_.size(); i += burst_size) {
            if (family == Family::ipv4) {
                engine.tables().fib4().lookup_bulk(std::span<const uint32_t>(&keys4_[i], burst_size),
                                                   &values_[i]);
            } else {
                engine.tables().fib6().lookup_bulk(std::span<const dataplane::Key>(&keys6_[i], burst_size),
                                                   &values_[i]);
            }
        }
    }

    Options o_;
    std::mt19937_64 random_;
    dataplane::Mempool pool_;
    std::vector<rte_ring*> sent_;
    std::vector<uint16_t> devices_;
    std::vector<rte_mbuf*> frames_;
    std::vector<uint32_t> keys4_;
    std::vector<dataplane::Key> keys6_;
    std::vector<uint32_t> values_;
};

int run(const Options& options) {
    Config config;
    config.sizes.mbufs = options.in_flight;
    config.workers.cores = {0};
    const auto eal = must(dataplane::Eal::start(config));
    Bench bench(options);
    json report = {{"in_flight", options.in_flight},
                   {"hugepages", eal->hugepages()},
                   {"avx512", dataplane::LpmTrie::has_avx512()},
                   {"next_hops", options.next_hops},
                   {"seed", options.seed},
                   {"rounds", options.rounds}};
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        report[family == Family::ipv4 ? "ipv4" : "ipv6"] = bench.run(family);
    }
    fmt::print("{}\n", report.dump());
    std::fflush(stdout);
    std::_Exit(0);  // DPDK's devices need no end
}

}  // namespace
}  // namespace millrace::test

int main(int argc, char** argv) {
    millrace::test::Options options;
    CLI::App app{"Measures the forwarder on one core, over DPDK's rings; prints JSON."};
    app.add_option("--prefixes4", options.prefixes4, "of IPv4")->capture_default_str();
    app.add_option("--prefixes6", options.prefixes6, "of IPv6")->capture_default_str();
    app.add_option("--next-hops", options.next_hops)->capture_default_str();
    app.add_option("--seed", options.seed, "of the table")->capture_default_str();
    app.add_option("--in-flight", options.in_flight, "packet buffers, a multiple of 32")
        ->check(CLI::Validator(
            [](const std::string& n) {
                const bool bursts =
                    std::strtoul(n.c_str(), nullptr, 10) % millrace::dataplane::burst_size == 0;
                return bursts ? std::string() : n + " is not a multiple of 32";
            },
            "", "bursts"))
        ->capture_default_str();
    app.add_option("--rounds", options.rounds)->check(CLI::Range(1, 1000))->capture_default_str();
    app.add_option("--packets", options.packets, "each time one is measured")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    return millrace::test::run(options);
}
