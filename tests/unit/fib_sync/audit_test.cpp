// SPDX-License-Identifier: BSD-3-Clause
// The audit: what was planted is found and repaired, and what is in flight is no difference.
#include "fib_sync/audit.hpp"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "fib_sync/planter.hpp"
#include "model_world.hpp"

namespace millrace::sync::test {
namespace {

// Answers from the model as the kernel does: a dump's datagrams hold few messages each and are filled one
// ahead of the reader; the next IPv4 part begins behind the last route told, the next IPv6 part skips as many
// as were told, whatever has come or gone meanwhile.
class ModelQuery : public KernelQuery {
  public:
    explicit ModelQuery(KernelModel& kernel) : kernel_(kernel) {}

    Status start_dump(DumpKind kind) override {
        if (refuse) {
            return fail("refused", EPERM);
        }
        kind_ = kind;
        told_ = 0;
        last_.reset();
        ahead_ = fill();
        return {};
    }
    Result<Part> next(const std::function<void(const Message&)>& each) override {
        const std::vector<Message> part = std::exchange(ahead_, {});
        if (part.empty()) {
            return Part{.last = true};
        }
        ahead_ = fill();
        std::for_each(part.begin(), part.end(), each);
        return Part{};
    }
    Result<std::optional<Message>> get(const Key& key) override {
        struct Is {
            const Key& key;
            bool operator()(const LinkMessage& m) const { return key == Key(m.ifindex); }
            bool operator()(const NeighborMessage& m) const {
                return key == Key(NeighborKey{m.address, m.ifindex});
            }
            bool operator()(const NexthopMessage& m) const { return key == Key(m.id); }
            bool operator()(const AddressMessage&) const { return false; }
            bool operator()(const RouteMessage&) const { return false; }
        };
        for (const DumpKind kind : {DumpKind::links, DumpKind::neighbours, DumpKind::nexthops}) {
            for (const Message& m : kernel_.dump(kind)) {
                if (std::visit(Is{key}, m)) {
                    return m;
                }
            }
        }
        return std::nullopt;
    }
    Result<std::optional<RouteMessage>> route_to(const IpAddress& address) override {
        const auto all = kernel_.dump(address.family == Family::ipv4 ? DumpKind::routes4 : DumpKind::routes6);
        std::optional<RouteMessage> best;
        for (const Message& m : all) {
            const auto& route = std::get<RouteMessage>(m);
            if (route.source.length == 0 && route.prefix.contains(address) &&
                (!best || route.prefix.length > best->prefix.length ||
                 (route.prefix.length == best->prefix.length && route.metric < best->metric))) {
                best = route;
            }
        }
        return best && best->type == RTN_BLACKHOLE ? std::nullopt : best;
    }
    [[nodiscard]] bool notifications_read() const override { return kernel_.messages.empty(); }

    bool refuse = false;

  private:
    static constexpr size_t datagram = 3;

    std::vector<Message> fill() {
        std::vector<Message> part;
        const auto all = kernel_.dump(kind_);
        size_t skip = kind_ == DumpKind::routes4 ? 0 : told_;
        for (const Message& m : all) {
            if (kind_ == DumpKind::routes4) {
                const auto& route = std::get<RouteMessage>(m);
                const std::pair key(route.prefix, route.metric);
                if ((last_ && key <= *last_) || (part.size() >= datagram && key != filled_)) {
                    continue;
                }
                filled_ = key;
            } else if (skip > 0 || part.size() >= datagram) {
                skip -= skip > 0 ? 1 : 0;
                continue;
            }
            part.push_back(m);
        }
        told_ += part.size();
        if (kind_ == DumpKind::routes4 && !part.empty()) {
            last_ = filled_;
        }
        return part;
    }

    KernelModel& kernel_;
    DumpKind kind_{};
    size_t told_ = 0;
    std::pair<Prefix, uint32_t> filled_;
    std::optional<std::pair<Prefix, uint32_t>> last_;
    std::vector<Message> ahead_;
};

struct AuditWorld : World {
    explicit AuditWorld(uint64_t seed, double share = 1)
        : World(seed), audit(mirror, sink, sync, query, options(share)) {}
    AuditOptions options(double share) {
        AuditOptions o;
        o.cpu_share = share;
        o.rest_ms = 0;
        o.cpu_us = [this] { return cpu_us += 500; };
        return o;
    }
    void pass(uint64_t ms) {
        sync.tick(now += ms);
        audit.tick(now);
    }
    // Nothing changes any more: until so many more walks are over.
    void quiet(uint64_t walks) {
        const uint64_t end = audit.statistics().walks + walks;
        for (int i = 0; i < 100'000 && audit.statistics().walks < end; ++i) {
            settle();
            pass(1);
        }
        settle();
        ASSERT_GE(audit.statistics().walks, end);
    }
    // The differences that a verification reports.
    std::vector<std::string> verify(std::optional<size_t> sample = {}) {
        std::vector<std::string> all;
        auto verification = audit.verify(sample);
        if (!verification) {
            ADD_FAILURE() << verification.error().text();
            return all;
        }
        for (int i = 0; i < 100'000; ++i) {
            settle();
            const auto over = (*verification)->work(now += 10);
            if (!over) {
                ADD_FAILURE() << over.error().text();
                return all;
            }
            if (*over) {
                break;
            }
        }
        for (const Difference& d : (*verification)->differences()) {
            all.push_back(fmt::format("{} {} {}", d.subject, name(d.where), d.what));
        }
        return all;
    }

    uint64_t cpu_us = 0;  // each piece takes half a millisecond
    ModelQuery query{kernel};
    Audit audit;
};

uint64_t seed() {
    static const uint64_t value = [] {
        const char* given = std::getenv("MILLRACE_TEST_SEED");
        const uint64_t s = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
        std::printf("seed %llu (MILLRACE_TEST_SEED)\n", static_cast<unsigned long long>(s));
        return s;
    }();
    return value;
}

// A table that has grown by random changes, in the mirror just so.
void grow(AuditWorld& w) {
    for (int i = 0; i < 300; ++i) {
        w.kernel.change();
    }
    w.settle();
}

class AuditTest : public testing::Test {
  protected:
    void SetUp() override { spdlog::set_level(spdlog::level::err); }
    void TearDown() override { spdlog::set_level(spdlog::level::info); }
};

TEST_F(AuditTest, WhatIsInFlightIsNoDifference) {
    uint64_t walks = 0;
    uint64_t changes = 0;
    for (uint64_t run = 0; run < 30; ++run) {
        SCOPED_TRACE(testing::Message() << "run " << run);
        AuditWorld w(seed() + run);
        for (int step = 0; step < 10'000; ++step) {
            switch (w.kernel.pick(8)) {
                case 0:
                    w.answer(w.kernel.pick(10) == 0);
                    break;
                case 1:
                    w.pass(w.kernel.pick(40));
                    break;
                case 2:
                    w.deliver(1 + w.kernel.pick(10));
                    break;
                case 3:
                    w.deliver(SIZE_MAX);
                    w.pass(1);
                    break;
                case 4:
                    w.kernel.change();
                    ++changes;
                    break;
                default:
                    w.pass(1);
                    break;
            }
        }
        w.quiet(2);
        ASSERT_EQ(w.audit.statistics().differences, 0U);
        ASSERT_EQ(w.sink.fib(), w.expected());
        walks += w.audit.statistics().walks;
    }
    std::printf("%llu walks, %llu changes\n", static_cast<unsigned long long>(walks),
                static_cast<unsigned long long>(changes));
    EXPECT_GT(walks, 200U);
}

TEST_F(AuditTest, FindsWhatTheKernelDidNotTell) {
    int differed = 0;
    for (uint64_t run = 0; run < 100; ++run) {
        SCOPED_TRACE(testing::Message() << "run " << run);
        AuditWorld w(seed() + run);
        grow(w);
        for (int i = 0; i < 3; ++i) {
            w.kernel.change();
        }
        w.kernel.messages.clear();  // and no overrun says so
        const bool differs = w.sink.fib() != w.expected();
        differed += differs ? 1 : 0;
        const uint64_t resyncs = w.sync.statistics().resyncs;
        w.quiet(2);
        ASSERT_EQ(w.sink.fib(), w.expected());
        const AuditStatistics& s = w.audit.statistics();
        ASSERT_GE(s.differences, differs ? 1U : 0U);
        ASSERT_EQ(s.repaired, s.differences);
        ASSERT_EQ(w.sync.statistics().resyncs - resyncs, s.differences != 0 ? 1U : 0U);
    }
    EXPECT_GT(differed, 30);
}

TEST_F(AuditTest, PlantedDifferencesAreFoundAndRepaired) {
    for (const char* kind : {"fib", "fib-group", "mirror", "mirror-route"}) {
        for (const char* prefix : {"10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0"}) {
            SCOPED_TRACE(testing::Message() << kind << ' ' << prefix);
            AuditWorld w(seed());
            // With one route of its own, and another group to lead to.
            const auto suits = [&] {
                const PrefixEntry* entry = w.mirror.rib().find(net(prefix));
                return entry != nullptr && entry->has_route() && !entry->several &&
                       w.mirror.groups().all().size() > 1 &&
                       w.mirror.rib().best(net(prefix), *entry)->type != RTN_BLACKHOLE;
            };
            do {
                grow(w);
            } while (!suits());
            const auto right = w.sink.fib();
            ASSERT_TRUE(w.verify().empty());
            const auto planted = plant_difference(w.mirror, w.sink, kind, net(prefix));
            ASSERT_TRUE(planted.has_value()) << planted.error().text();
            const auto found = w.verify();
            ASSERT_FALSE(found.empty());
            const std::string where = std::string(kind).starts_with("fib") ? "fast path" : "mirror";
            EXPECT_TRUE(std::all_of(found.begin(), found.end(), [&](const std::string& f) {
                return f.starts_with(fmt::format("{} {} ", prefix, where));
            })) << found.front();
            w.settle();
            EXPECT_EQ(w.sink.fib(), right);
            EXPECT_TRUE(w.verify().empty());
        }
    }
}

TEST_F(AuditTest, WhatTheFastPathHasTooMuchIsRemoved) {
    AuditWorld w(seed());
    do {
        grow(w);
    } while (w.sink.groups.empty());
    for (const char* prefix : {"203.0.113.0/24", "3fff::/20"}) {
        w.sink.set_route(main_table, net(prefix), w.sink.groups.begin()->first);
    }
    EXPECT_EQ(w.verify(), (std::vector<std::string>{"203.0.113.0/24 fast path not in the mirror",
                                                    "3fff::/20 fast path not in the mirror"}));
    EXPECT_EQ(w.sink.fib(), w.expected());
}

TEST_F(AuditTest, ASampleFindsTheSame) {
    AuditWorld w(seed());
    do {
        grow(w);
    } while (!w.mirror.find_entry(net("10.0.0.0/8")) || w.sink.routes.size() < 5);
    ASSERT_TRUE(w.verify(1000).empty());
    ASSERT_TRUE(plant_difference(w.mirror, w.sink, "fib", net("10.0.0.0/8")).has_value());
    EXPECT_EQ(w.verify(1000), std::vector<std::string>{"10.0.0.0/8 fast path missing"});
    EXPECT_TRUE(w.verify(1000).empty());
}

TEST_F(AuditTest, TakesItsShareOfTheCpuAndNoMore) {
    AuditWorld w(seed(), 0.01);
    grow(w);
    const uint64_t before = w.audit.statistics().cpu_us;
    for (int ms = 0; ms < 60'000; ++ms) {
        w.pass(1);
    }
    // A piece takes 500 us, and 50 ms of waiting.
    const uint64_t used = w.audit.statistics().cpu_us - before;
    EXPECT_LE(used, 600'000U + 500);
    EXPECT_GE(used, 550'000U);

    AuditWorld off(seed(), 0);
    grow(off);
    off.pass(1000);
    EXPECT_EQ(off.audit.statistics().cpu_us, 0U);
    EXPECT_EQ(off.audit.deadline(), UINT64_MAX);
}

TEST_F(AuditTest, OneVerificationAtATimeAndNoneBeforeTheFirstTable) {
    AuditWorld w(seed());
    EXPECT_FALSE(w.audit.verify({}).has_value());
    w.settle();
    {
        const auto first = w.audit.verify({});
        ASSERT_TRUE(first.has_value());
        EXPECT_FALSE(w.audit.verify({}).has_value());
        const uint64_t used = w.cpu_us;
        w.pass(1000);
        EXPECT_EQ(w.cpu_us, used) << "the background rests";
    }
    EXPECT_TRUE(w.audit.verify({}).has_value());
}

TEST_F(AuditTest, AKernelThatDoesNotAnswerIsAskedAgainLater) {
    AuditWorld w(seed());
    w.settle();
    w.query.refuse = true;
    w.pass(1);
    EXPECT_EQ(w.audit.statistics().failures, 1U);
    w.pass(5000);
    EXPECT_EQ(w.audit.statistics().failures, 1U);
    const auto verification = w.audit.verify({});
    ASSERT_TRUE(verification.has_value());
    EXPECT_FALSE((*verification)->work(w.now).has_value());
}

}  // namespace
}  // namespace millrace::sync::test
