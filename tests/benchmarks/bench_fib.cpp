// SPDX-License-Identifier: BSD-3-Clause
// Measures the FIB over a full table of both families: lookups beside DPDK's rte_fib, updates, memory. Prints
// JSON; `tests/bench fib` makes the table of it. Times are CPU seconds of the thread, so that other programs
// on the machine disturb little; variants alternate within each round.
#include <malloc.h>
#include <rte_version.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "benchmarks/rte_fib_baseline.hpp"
#include "dataplane/fib/lpm_trie.hpp"
#include "support/cpu_seconds.hpp"
#include "support/full_table.hpp"

namespace millrace::test {
namespace {

using dataplane::LpmTrie;
using dataplane::Quiescence;
using nlohmann::json;
using Table = std::vector<std::pair<Prefix, uint32_t>>;

constexpr unsigned burst = 32;
constexpr size_t lookups = 1 << 20;  // each time one is measured
constexpr size_t limit = size_t{1} << 30;
constexpr size_t batch = 64;  // updates between two calls of settle()

struct Options {
    size_t prefixes4 = 1'200'000;
    size_t prefixes6 = 300'000;
    uint32_t next_hops = 2048;
    uint64_t seed = 1;
    bool uniform = false;
    unsigned rounds = 9;
    size_t updates = 2'000'000;  // of each family
};

// What malloc could give back is given back before, so that what grows is what is used.
size_t resident() {
    malloc_trim(0);
    std::ifstream statm("/proc/self/statm");
    size_t total = 0;
    size_t pages = 0;
    statm >> total >> pages;
    return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

class Bench {
  public:
    Bench(const Options& options, Family family)
        : o_(options),
          family_(family),
          random_(options.seed),
          table_(full_table({family, family == Family::ipv4 ? options.prefixes4 : options.prefixes6,
                             options.next_hops, options.seed, options.uniform})) {
        const size_t before = resident();
        trie_ = std::make_unique<LpmTrie>(family, limit, quiescence_);
        quiescence_.add_worker(0);
        quiescence_.online(0);
        report_["load_seconds"] = load(*trie_, table_);
        report_["prefixes"] = table_.size();
        report_["resident_bytes"] = resident() - before;
        report_["root_bytes"] = trie_->usage().root_bytes;
        report_["node_bytes"] = trie_->usage().node_bytes;
        report_["index_bytes"] = trie_->usage().index_bytes;
    }

    json run() {
        {
            Table sorted = table_;  // as the kernel dumps IPv4; IPv6 comes in another order
            std::sort(sorted.begin(), sorted.end());
            LpmTrie another(family_, limit, quiescence_);
            report_["load_sorted_seconds"] = load(another, sorted);
        }
        measure_lookups();
        measure_long_updates();
        measure_churn();
        return report_;
    }

  private:
    double load(LpmTrie& trie, const Table& table) {
        const double start = cpu_seconds();
        for (size_t i = 0; i < table.size(); ++i) {
            trie.insert(table[i].first, table[i].second);
            if (i % batch == 0) {
                trie.settle();
                quiescence_.quiescent(0);
            }
        }
        return cpu_seconds() - start;
    }
    void settle_at(size_t i) {
        if (i % batch == 0) {
            trie_->settle();
            quiescence_.quiescent(0);
        }
    }

    // "random": unicast space; "hits": within a random prefix; "zipf": some prefixes far more often.
    std::vector<uint8_t> addresses(const std::string& mix) {
        const size_t width = address_bits(family_) / 8;
        std::vector<uint8_t> out(lookups * width);
        for (auto& byte : out) {
            byte = static_cast<uint8_t>(random_());
        }
        for (size_t i = 0; i < lookups; ++i) {
            uint8_t* a = &out[i * width];
            if (mix == "random") {
                if (family_ == Family::ipv6) {
                    *a = static_cast<uint8_t>(0x20 | (*a & 0x1f));
                } else {
                    *a = static_cast<uint8_t>(1 + *a % 223);
                }
                continue;
            }
            const size_t k = mix == "hits" ? random_() % table_.size()
                                           : zipf(random_, static_cast<uint32_t>(table_.size())) - 1;
            const Prefix& p = table_[k].first;
            for (unsigned bit = 0; bit < p.length; ++bit) {
                const auto mask = static_cast<uint8_t>(0x80U >> (bit % 8));
                a[bit / 8] = static_cast<uint8_t>((a[bit / 8] & ~mask) | (p.address.bytes[bit / 8] & mask));
            }
        }
        return out;
    }

    // Keys as each wants them: IPv4 addresses in host order, IPv6 ones as 16 bytes (rte_fib) or two numbers.
    // "packets" begins with pointers to a burst's addresses in network order instead.
    template <class Key, class TheirKey>
    void measure_lookups(const std::vector<Key>& keys, const std::vector<TheirKey>& their_keys, RteFib& rte,
                         const std::vector<uint8_t>& flat, const std::string& mix) {
        const size_t width = address_bits(family_) / 8;
        std::vector<uint32_t> ours(lookups);
        std::vector<uint64_t> theirs(lookups);
        const auto time_trie = [&] {
            for (size_t i = 0; i < lookups; i += burst) {
                trie_->lookup_bulk(std::span<const Key>(&keys[i], burst), &ours[i]);
            }
        };
        const auto time_rte = [&] {
            for (size_t i = 0; i < lookups; i += burst) {
                rte.lookup_bulk(&their_keys[i], &theirs[i], burst);
            }
        };
        const auto from_packets = [&](auto& burst_keys, const auto& key_of, const auto& lookup) {
            std::array<const uint8_t*, burst> packets;
            for (size_t i = 0; i < lookups; i += burst) {
                for (unsigned j = 0; j < burst; ++j) {
                    packets[j] = &flat[(i + j) * width];
                }
                for (unsigned j = 0; j < burst; ++j) {
                    burst_keys[j] = key_of(packets[j]);
                }
                lookup(i);
            }
        };
        std::array<Key, burst> our_burst;
        std::array<TheirKey, burst> their_burst;
        json& rates = report_["lookups"][mix];
        const auto timed = [&](const std::string& name, const auto& work) {
            work();  // so that the caches hold what it needs, and not what the last one did
            const double start = cpu_seconds();
            work();
            rates[name].push_back(static_cast<double>(lookups) / (cpu_seconds() - start));
        };
        for (unsigned round = 0; round < o_.rounds; ++round) {
            timed("millrace", time_trie);
            timed("millrace, packets", [&] {
                from_packets(our_burst, our_key<Key>, [&](size_t i) {
                    trie_->lookup_bulk(std::span<const Key>(our_burst), &ours[i]);
                });
            });
            for (const auto lookup : {RteFib::Lookup::scalar, RteFib::Lookup::avx512}) {
                if (rte.select(lookup)) {
                    const std::string name =
                        lookup == RteFib::Lookup::avx512 ? "rte_fib avx512" : "rte_fib scalar";
                    timed(name, time_rte);
                    timed(name + ", packets", [&] {
                        from_packets(their_burst, their_key<TheirKey>,
                                     [&](size_t i) { rte.lookup_bulk(&their_burst[0], &theirs[i], burst); });
                    });
                }
            }
            if (LpmTrie::has_avx512()) {
                trie_->select(LpmTrie::Lookup::scalar);
                timed("millrace scalar", time_trie);
                trie_->select(LpmTrie::Lookup::avx512);
            }
        }
        time_trie();
        uint64_t different = 0;
        for (size_t i = 0; i < lookups; ++i) {
            different += ours[i] == theirs[i] ? 0 : 1;
        }
        report_["different_results"][mix] = different;
    }

    template <class T>
    static T our_key(const uint8_t* address) {
        if constexpr (std::is_same_v<T, uint32_t>) {
            return their_key<T>(address);
        } else {
            return T::from_bytes(address);
        }
    }
    template <class T>
    static T their_key(const uint8_t* address) {
        T key{};
        std::memcpy(&key, address, sizeof(key));
        if constexpr (std::is_same_v<T, uint32_t>) {
            key = ntohl(key);
        }
        return key;
    }

    void measure_lookups() {
        RteFib rte(family_, table_);
        report_["rte_fib_refused"] = rte.refused();
        for (const std::string mix : {"random", "hits", "zipf"}) {
            const std::vector<uint8_t> flat = addresses(mix);
            if (family_ == Family::ipv4) {
                measure_keys<uint32_t, uint32_t>(flat, rte, mix);
            } else {
                measure_keys<dataplane::Key, RteFib::Key6>(flat, rte, mix);
            }
        }
    }
    template <class Key, class TheirKey>
    void measure_keys(const std::vector<uint8_t>& flat, RteFib& rte, const std::string& mix) {
        const size_t width = address_bits(family_) / 8;
        std::vector<Key> keys(lookups);
        std::vector<TheirKey> their_keys(lookups);
        for (size_t i = 0; i < lookups; ++i) {
            keys[i] = our_key<Key>(&flat[i * width]);
            their_keys[i] = their_key<TheirKey>(&flat[i * width]);
        }
        measure_lookups(keys, their_keys, rte, flat, mix);
    }

    // Prefixes that cover as many others as can be: each comes and goes.
    void measure_long_updates() {
        const std::vector<unsigned> lengths = family_ == Family::ipv4
                                                  ? std::vector<unsigned>{0, 1, 8, 9, 10, 12, 14, 16, 18}
                                                  : std::vector<unsigned>{0, 3, 12, 13, 16, 18, 20, 22, 24};
        for (const unsigned length : lengths) {
            std::map<Prefix, size_t> covered;
            for (const auto& [prefix, value] : table_) {
                if (prefix.length > length) {
                    ++covered[Prefix::make(prefix.address, length)];
                }
            }
            const auto most =
                std::max_element(covered.begin(), covered.end(),
                                 [](const auto& a, const auto& b) { return a.second < b.second; });
            const auto own = std::find_if(table_.begin(), table_.end(),
                                          [&](const auto& route) { return route.first == most->first; });
            json row{{"prefix", most->first.text()}, {"covers", most->second}};
            for (unsigned round = 0; round < o_.rounds; ++round) {
                trie_->remove(most->first);
                const double start = cpu_seconds();
                trie_->insert(most->first, 1 + round);
                const double between = cpu_seconds();
                trie_->remove(most->first);
                row["seconds"].push_back(std::max(between - start, cpu_seconds() - between));
                settle_at(0);
            }
            if (own != table_.end()) {
                trie_->insert(own->first, own->second);
            }
            report_["long_updates"].push_back(row);
        }
    }

    // Half of the changed prefixes are longer than most of the table is: within it, as host routes are.
    void measure_churn() {
        const unsigned common = family_ == Family::ipv4 ? 24 : 48;
        Table changed;
        for (size_t i = 0; i < 200'000 && i < table_.size(); ++i) {
            changed.push_back(table_[i]);
            IpAddress a = table_[i].first.address;
            a.bytes[common / 8] = static_cast<uint8_t>(random_());
            a.bytes[common / 8 - 1] |= static_cast<uint8_t>(random_() & ~(0xff00U >> (common % 8)) & 1);
            changed.emplace_back(Prefix::make(a, common + 1 + static_cast<unsigned>(random_() % 8)), 1);
        }
        std::vector<bool> present(changed.size());
        for (size_t i = 0; i < changed.size(); ++i) {
            present[i] = i % 2 == 0;
        }
        const auto change = [&](size_t n) {
            for (size_t i = 0; i < n; ++i) {
                const size_t k = random_() % changed.size();
                if (present[k]) {
                    trie_->remove(changed[k].first);
                } else {
                    trie_->insert(changed[k].first, 1 + static_cast<uint32_t>(random_() % o_.next_hops));
                }
                present[k] = !present[k];
                settle_at(i);
            }
        };
        change(changed.size() * 4);  // until as many have come as go
        json& churn = report_["churn"];
        churn["nodes_before"] = trie_->usage().node_bytes;
        churn["resident_before"] = resident();
        for (unsigned round = 0; round < o_.rounds; ++round) {
            const size_t n = o_.updates / o_.rounds;
            const double start = cpu_seconds();
            change(n);
            churn["updates_per_second"].push_back(static_cast<double>(n) / (cpu_seconds() - start));
        }
        churn["updates"] = o_.updates;
        churn["nodes_after"] = trie_->usage().node_bytes;
        churn["resident_after"] = resident();
        churn["punting"] = trie_->usage().punting;
    }

    Options o_;
    Family family_;
    std::mt19937_64 random_;
    Table table_;
    Quiescence quiescence_{1};
    std::unique_ptr<LpmTrie> trie_;
    json report_;
};

}  // namespace
}  // namespace millrace::test

int main(int argc, char** argv) {
    using namespace millrace;
    test::Options o;
    CLI::App app("Measures the FIB over a full table; prints JSON.");
    app.add_option("--prefixes4", o.prefixes4, "IPv4 prefixes")->capture_default_str();
    app.add_option("--prefixes6", o.prefixes6, "IPv6 prefixes")->capture_default_str();
    app.add_option("--next-hops", o.next_hops, "different values")->capture_default_str();
    app.add_option("--seed", o.seed, "of the table and all else")->capture_default_str();
    app.add_flag("--uniform", o.uniform, "scatter the prefixes at random: harsher than a real table");
    app.add_option("--rounds", o.rounds, "alternating rounds")->capture_default_str();
    app.add_option("--updates", o.updates, "updates of each family")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    test::start_eal(6144);
    nlohmann::json out;
    out["dpdk"] = rte_version();
    out["avx512"] = dataplane::LpmTrie::has_avx512();
    out["next_hops"] = o.next_hops;
    out["seed"] = o.seed;
    out["table"] = o.uniform ? "uniform" : "clustered";
    out["burst"] = test::burst;
    out["ipv4"] = test::Bench(o, Family::ipv4).run();
    out["ipv6"] = test::Bench(o, Family::ipv6).run();
    std::printf("%s\n", out.dump(1).c_str());
    return 0;
}
