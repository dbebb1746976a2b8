// SPDX-License-Identifier: BSD-3-Clause
// Feeds the mirror with changes as messages, at a fixed rate, and has a worker look up addresses in the
// tables meanwhile: does each packet go to a next hop that is right for it, does memory stay, is anything
// refused? Prints JSON; `tests/bench sync` makes rows of it.
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <malloc.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "dataplane/fib/tables.hpp"
#include "fib_sync/sync.hpp"
#include "support/full_table.hpp"

namespace millrace::test {
namespace {

using namespace sync;
using Clock = std::chrono::steady_clock;

struct Options {
    size_t prefixes4 = 1'200'000;
    size_t prefixes6 = 300'000;
    uint32_t next_hops = 2048;
    uint64_t rate = 50'000;
    uint64_t seconds = 600;
    uint64_t seed = 1;
};

constexpr uint64_t step_ms = 5;
constexpr size_t longer_prefixes = 100'000;
constexpr size_t looked_up = 8192;  // addresses of each family
constexpr Ifindex e0{10};

double resident_mb() {
    std::ifstream statm("/proc/self/statm");
    size_t total = 0;
    size_t pages = 0;
    statm >> total >> pages;
    return static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

class NoTransport : public Transport {
  public:
    Status start_dump(DumpKind) override { return {}; }
    void abandon_dump() override {}
};

IpAddress gateway(uint32_t way) {
    return {Family::ipv4, {10, 99, static_cast<uint8_t>(way >> 8), static_cast<uint8_t>(way)}};
}

RouteMessage route(const Prefix& prefix, uint32_t way) {
    RouteMessage m;
    m.table = main_table;
    m.prefix = prefix;
    m.type = RTN_UNICAST;
    m.protocol = RTPROT_BGP;
    m.metric = 20;
    m.paths = {Path{.gateway = gateway(way), .ifindex = e0, .weight = 1, .flags = 0}};
    return m;
}

// Prefixes of the table move between two next hops of their own; longer ones come and go, with one.
class Churn {
  public:
    explicit Churn(const Options& options) : o_(options), random_(options.seed) {
        for (const Family family : {Family::ipv4, Family::ipv6}) {
            const size_t n = family == Family::ipv4 ? o_.prefixes4 : o_.prefixes6;
            for (const auto& [prefix, way] : full_table({family, n, o_.next_hops, o_.seed, false})) {
                table_.push_back({prefix, way % o_.next_hops});
                known_.insert(prefix);
            }
        }
        while (longer_.size() < longer_prefixes) {
            const Prefix& parent = table_[random_() % table_.size()].prefix;
            const unsigned common = parent.address.family == Family::ipv4 ? 24 : 48;
            const Prefix p = inside(parent, common + 1 + static_cast<unsigned>(random_() % 8));
            if (parent.length <= common && known_.insert(p).second) {
                longer_.push_back({p, static_cast<uint32_t>(random_() % o_.next_hops)});
            }
        }
        present_.resize(longer_.size());
    }

    [[nodiscard]] const auto& table() const { return table_; }
    struct Entry {
        Prefix prefix;
        uint32_t way;
    };
    [[nodiscard]] uint32_t other(uint32_t way) const { return (way + 1) % o_.next_hops; }

    RouteMessage next(bool longer) {
        if (!longer) {
            const Entry& e = table_[random_() % table_.size()];
            RouteMessage m = route(e.prefix, random_() % 2 == 0 ? e.way : other(e.way));
            m.replace = true;
            return m;
        }
        const size_t i = random_() % longer_.size();
        RouteMessage m = route(longer_[i].prefix, longer_[i].way);
        m.removed = present_[i];
        m.exclusive = !present_[i];
        present_[i] = !present_[i];
        return m;
    }

    // Half of them under prefixes that come and go.
    std::map<IpAddress, std::set<uint32_t>> right(Family family) {
        std::map<Prefix, uint32_t> always;
        for (const Entry& e : table_) {
            if (e.prefix.address.family == family) {
                always.emplace(e.prefix, e.way);
            }
        }
        std::map<Prefix, uint32_t> at_times;
        for (const Entry& e : longer_) {
            if (e.prefix.address.family == family) {
                at_times.emplace(e.prefix, e.way);
            }
        }
        std::map<IpAddress, std::set<uint32_t>> all;
        while (all.size() < looked_up) {
            const Entry& e =
                random_() % 2 == 0 ? longer_[random_() % longer_.size()] : table_[random_() % table_.size()];
            if (e.prefix.address.family != family) {
                continue;
            }
            const IpAddress address = inside(e.prefix, address_bits(family)).address;
            std::set<uint32_t>& ways = all[address];
            for (unsigned length = address_bits(family) + 1; length-- > 0;) {
                const Prefix p = Prefix::make(address, length);
                if (const auto found = at_times.find(p); found != at_times.end()) {
                    ways.insert(found->second);
                }
                if (const auto found = always.find(p); found != always.end()) {
                    ways.insert({found->second, other(found->second)});
                    break;
                }
            }
        }
        return all;
    }

  private:
    Prefix inside(const Prefix& parent, unsigned length) {
        IpAddress a = parent.address;
        for (unsigned bit = parent.length; bit < address_bits(a.family); ++bit) {
            a.bytes[bit / 8] |= static_cast<uint8_t>((random_() & 1U) << (7 - bit % 8));
        }
        return Prefix::make(a, length);
    }

    Options o_;
    std::mt19937_64 random_;
    std::vector<Entry> table_;
    std::vector<Entry> longer_;
    std::set<Prefix> known_;
    std::vector<bool> present_;
};

// The lookups of a worker, and what it would write into the frame.
class Reader {
  public:
    Reader(dataplane::Tables& tables, Churn& churn) : tables_(tables) {
        for (const auto& [address, ways] : churn.right(Family::ipv4)) {
            uint32_t key = 0;
            std::memcpy(&key, address.bytes.data(), sizeof(key));
            keys4_.push_back(ntohl(key));
            right_.push_back(ways);
        }
        for (const auto& [address, ways] : churn.right(Family::ipv6)) {
            keys6_.push_back(dataplane::Key::of(address));
            right_.push_back(ways);
        }
    }
    void start() {
        thread_ = std::thread([this] { run(); });
    }
    void stop() {
        stop_ = true;
        thread_.join();
    }
    uint64_t packets = 0;
    uint64_t wrong = 0;
    uint64_t punted = 0;

  private:
    void run() {
        auto& quiescence = tables_.quiescence();
        quiescence.add_worker(0);
        quiescence.online(0);
        constexpr size_t burst = 32;
        std::array<uint32_t, burst> values{};
        const size_t all = keys4_.size() + keys6_.size();
        for (size_t i = 0; !stop_; i = (i + burst) % all) {
            if (i < keys4_.size()) {
                tables_.fib4().lookup_bulk(std::span(keys4_).subspan(i, burst), values.data());
            } else {
                tables_.fib6().lookup_bulk(std::span(keys6_).subspan(i - keys4_.size(), burst),
                                           values.data());
            }
            for (size_t j = 0; j < burst; ++j) {
                check(values[j], right_[i + j]);
            }
            quiescence.quiescent(0);
            if (i % (burst * 64) == 0) {
                std::this_thread::sleep_for(
                    std::chrono::microseconds(100));  // as a worker without much to do
            }
        }
        quiescence.offline(0);
    }
    void check(uint32_t value, const std::set<uint32_t>& ways) {
        ++packets;
        const dataplane::Group group = tables_.groups().get(value);
        if (group.reason() != Reason::forwarded) {
            ++punted;
            return;
        }
        const auto& adjacency = tables_.adjacencies().get(tables_.groups().select(group, 0));
        if (adjacency.reason != Reason::forwarded) {
            ++punted;
            return;
        }
        wrong += ways.contains((uint32_t{adjacency.l2[4]} << 8) | adjacency.l2[5]) ? 0 : 1;
    }

    dataplane::Tables& tables_;
    std::vector<uint32_t> keys4_;
    std::vector<dataplane::Key> keys6_;
    std::vector<std::set<uint32_t>> right_;  // of the IPv4 addresses, then of the IPv6 ones
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

void tell_basics(Sync& sync, uint32_t next_hops, uint64_t now) {
    LinkMessage link;
    link.ifindex = e0;
    link.name = "e0";
    link.mtu = 1500;
    link.up = link.carrier = true;
    sync.dump_message(link, now);
    for (uint32_t way = 0; way < next_hops; ++way) {
        NeighborMessage n;
        n.ifindex = e0;
        n.address = gateway(way);
        n.mac = MacAddress{{2, 0, 0, 0, static_cast<uint8_t>(way >> 8), static_cast<uint8_t>(way)}};
        n.state = NUD_REACHABLE;
        sync.dump_message(n, now);
    }
}

int run(const Options& o) {
    auto tables = dataplane::Tables::create({{.name = "e0"}}, SizeConfig{}, 1);
    if (!tables) {
        fmt::print(stderr, "bench-churn: {}\n", tables.error().text());
        return 1;
    }
    Churn churn(o);
    Reader reader(**tables, churn);
    malloc_trim(0);  // what making the prefixes took is not the mirror's
    const double before = resident_mb();
    Mirror mirror{**tables, {"e0"}};
    NoTransport transport;
    Sync sync{mirror, transport, SyncOptions{}};
    uint64_t now = 1'000'000;
    const auto settle = [&] {
        while (sync.busy()) {
            sync.tick(now);
        }
    };
    sync.start(now);
    tell_basics(sync, o.next_hops, now);
    for (const auto& entry : churn.table()) {
        sync.dump_message(Message(route(entry.prefix, entry.way)), now);
    }
    for (size_t stage = 0; stage < dump_kinds; ++stage) {
        sync.dump_done(false, now);
    }
    settle();

    nlohmann::ordered_json out;
    out["prefixes"] = churn.table().size();
    out["table_mb"] = resident_mb() - before;
    reader.start();
    const auto begin = Clock::now();
    uint64_t done = 0;
    double late_ms = 0;
    for (uint64_t ms = step_ms; ms <= o.seconds * 1000; ms += step_ms) {
        now += step_ms;
        for (; done < o.rate * ms / 1000; ++done) {
            sync.notification(Message(churn.next(done % 2 == 0)), now);
        }
        sync.end_batch(now);
        sync.tick(now);
        settle();
        const auto due = begin + std::chrono::milliseconds(ms);
        late_ms = std::max(late_ms, std::chrono::duration<double, std::milli>(Clock::now() - due).count());
        std::this_thread::sleep_until(due);
        if (ms % (o.seconds * 100) == 0) {
            out["resident_mb"].push_back(resident_mb() - before);
            fmt::print(stderr, "{} s, {} updates, {:.0f} MB\n", ms / 1000, done, resident_mb() - before);
        }
    }
    out["updates"] = done;
    out["seconds"] = std::chrono::duration<double>(Clock::now() - begin).count();
    out["late_ms"] = late_ms;
    reader.stop();
    out["packets"] = reader.packets;
    out["wrong"] = reader.wrong;
    out["punted"] = reader.punted;
    out["doubts"] = sync.statistics().doubts;
    out["in_sync"] = sync.state() == SyncState::synced;
    out["punting4"] = (*tables)->fib_usage(Family::ipv4).now.punting;
    out["punting6"] = (*tables)->fib_usage(Family::ipv6).now.punting;
    fmt::print("{}\n", out.dump());
    return 0;
}

}  // namespace
}  // namespace millrace::test

int main(int argc, char** argv) {
    using namespace millrace;
    spdlog::set_default_logger(spdlog::stderr_logger_mt("bench-churn"));
    test::Options o;
    CLI::App app("Churns the mirror and its tables while packets are looked up; prints JSON.");
    app.add_option("--prefixes4", o.prefixes4, "IPv4 prefixes")->capture_default_str();
    app.add_option("--prefixes6", o.prefixes6, "IPv6 prefixes")->capture_default_str();
    app.add_option("--next-hops", o.next_hops, "next hops")->capture_default_str();
    app.add_option("--rate", o.rate, "updates a second")->capture_default_str();
    app.add_option("--seconds", o.seconds, "how long")->capture_default_str();
    app.add_option("--seed", o.seed, "of the table and all else")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    return test::run(o);
}
