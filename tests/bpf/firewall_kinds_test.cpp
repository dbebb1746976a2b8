// SPDX-License-Identifier: BSD-3-Clause
// Each kind of hook that the kernel has, registered for real: what the classifier makes of it, before and
// after it has been judged.
#include "firewall_fixture.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/bpf.h>
#include <linux/netfilter.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <thread>

namespace millrace::test {
namespace {

using steering::Fd;

// Newer than Debian 12's headers.
constexpr uint32_t netfilter_type = 32;
constexpr uint32_t on_netfilter = 45;
constexpr uint32_t on_tcx_ingress = 46;

template <class Attributes>
Fd bpf(bpf_cmd command, Attributes& attributes) {
    return Fd(static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof(attributes))));
}

// One that returns the verdict. Empty: this kernel has no such programs.
Fd program_of(uint32_t type, uint32_t attach, int verdict) {
    const std::array<bpf_insn, 2> code = {
        {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = verdict},
         {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}}};
    bpf_attr attributes{};
    attributes.prog_type = type;
    attributes.expected_attach_type = attach;
    attributes.insns = reinterpret_cast<uint64_t>(code.data());
    attributes.insn_cnt = code.size();
    attributes.license = reinterpret_cast<uint64_t>("GPL");
    return bpf(BPF_PROG_LOAD, attributes);
}

// Where: of netfilter's the family and the hook, of tcx the device.
struct Link {
    uint32_t program, device, attach, flags, family, hook;
    int32_t priority;
    uint32_t options;
};
Fd link_to(const Fd& program, uint32_t attach, Link where) {
    where.program = static_cast<uint32_t>(program.get());
    where.attach = attach;
    return bpf(BPF_LINK_CREATE, where);
}

TEST_F(Firewall, ACounterAloneIsKept) {
    ASSERT_TRUE(nft(std::string(forward) + "; add rule inet t c counter"));
    judge_firewall();
    both(kept, kept);
}

TEST_F(Firewall, RulesBeforeRoutingAreKeptAndThoseOfTheRouterItselfAreNot) {
    ASSERT_TRUE(
        nft("add table ip t; add chain ip t c { type filter hook prerouting priority raw; };"
            "add rule ip t c counter"));
    judge_firewall();
    both(kept, fast);
    ASSERT_TRUE(
        nft("delete table ip t; add table ip6 t;"
            "add chain ip6 t c { type filter hook postrouting priority mangle; };"
            "add rule ip6 t c meta mark set 1"));
    both(kept, kept);
    judge_firewall();
    both(fast, kept);
    ASSERT_TRUE(
        nft("delete table ip6 t; add table inet t;"
            "add chain inet t i { type filter hook input priority 0; policy drop; };"
            "add chain inet t o { type filter hook output priority 0; policy drop; };"
            "add chain inet t r { type route hook output priority 0; };"
            "add rule inet t i udp dport 53 accept; add rule inet t o counter"));
    both(kept, kept);
    judge_firewall();
    both(fast, fast);
}

TEST_F(Firewall, AddressTranslationIsKeptEvenWithoutRules) {
    ASSERT_TRUE(nft("add table ip t; add chain ip t c { type nat hook postrouting priority srcnat; }"));
    both(kept, kept);
    judge_firewall();
    both(kept, fast);
    EXPECT_THAT(listed(), testing::Contains("4 postrouting: address translation"));
}

TEST_F(Firewall, ADormantTableIsNotThereUntilItWakes) {
    ASSERT_TRUE(nft(
        "add table inet t { flags dormant; }; add chain inet t c { type filter hook forward priority 0; };"
        "add rule inet t c drop"));
    judge_firewall();
    both(fast, fast);
    ASSERT_TRUE(nft("add table inet t"));
    both(kept, kept);
    judge_firewall();
    both(kept, kept);
    ASSERT_TRUE(nft("add table inet t { flags dormant; }"));
    both(kept, kept);
    judge_firewall();
    both(fast, fast);
}

TEST_F(Firewall, TheOtherFamilyOfIptablesStaysFast) {
    must_run({"ip6tables-nft", "-A", "FORWARD", "-j", "DROP"});
    judge_firewall();
    both(fast, kept);
    must_run({"iptables-nft", "-A", "FORWARD", "-j", "ACCEPT"});
    both(kept, kept);
}

// Legacy tables stay registered for as long as their namespace lives: so they have one of their own.
class LegacyFirewall : public Firewall {
  protected:
    void SetUp() override {
        before_ = Fd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
        if (geteuid() == 0) {
            ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "errno " << errno;
        }
        Firewall::SetUp();
    }
    void TearDown() override {
        Firewall::TearDown();
        EXPECT_EQ(setns(before_.get(), CLONE_NEWNET), 0) << "errno " << errno;
    }

  private:
    Fd before_;
};

TEST_F(LegacyFirewall, LegacyIptablesIsKeptFromTheMomentItIsThere) {
    const Output rule = run({"iptables-legacy", "-A", "FORWARD", "-j", "ACCEPT"});
    if (rule.code != 0) {
        GTEST_SKIP() << "this kernel has no iptables-legacy: " << rule.err;
    }
    both(kept, fast);
    judge_firewall();
    both(kept, fast);
    EXPECT_THAT(listed(), testing::Contains("4 forward: iptables-legacy"));
    // It stays registered for as long as the table is there: kept, although it has no rules.
    must_run({"iptables-legacy", "-F", "FORWARD"});
    judge_firewall();
    both(kept, fast);
}

TEST_F(Firewall, ABpfNetfilterLinkIsKeptForItsFamilyWhateverItReturns) {
    const Fd program = program_of(netfilter_type, on_netfilter, NF_ACCEPT);
    if (!program) {
        GTEST_SKIP() << "this kernel has no BPF netfilter programs (errno " << errno << ")";
    }
    for (const uint32_t hook : {NF_INET_PRE_ROUTING, NF_INET_FORWARD, NF_INET_POST_ROUTING}) {
        const Fd link = link_to(program, on_netfilter, {.family = NFPROTO_IPV6, .hook = hook});
        ASSERT_TRUE(link) << "errno " << errno;
        both(fast, kept);
        judge_firewall();
        both(fast, kept);
    }
    // A link's end is carried out when the kernel gets to it.
    for (int i = 0; i < 100 && !listed().empty(); ++i) {
        usleep(10'000);
    }
    both(fast, fast);
    const Fd local = link_to(program, on_netfilter, {.family = NFPROTO_IPV4, .hook = NF_INET_LOCAL_IN});
    ASSERT_TRUE(local) << "errno " << errno;
    both(fast, fast);
}

TEST_F(Firewall, ATcxProgramAtIngressIsKeptUntilItIsGone) {
    const Fd program = program_of(BPF_PROG_TYPE_SCHED_CLS, on_tcx_ingress, -1);
    Fd link = link_to(program, on_tcx_ingress, {.device = raw(loopback)});
    if (!link) {
        GTEST_SKIP() << "this kernel has no tcx (errno " << errno << ")";
    }
    both(kept, kept);
    judge_firewall();
    both(kept, kept);
    link = Fd();
    both(fast, fast);
}

TEST_F(Firewall, ATcFilterAtIngressIsKeptAndAnEmptyClsactIsNot) {
    must_run({"tc", "qdisc", "add", "dev", "lo", "clsact"});
    both(fast, fast);
    const Output egress = run({"tc", "filter", "add", "dev", "lo", "egress", "matchall", "action", "ok"});
    if (egress.code != 0) {
        must_run({"tc", "qdisc", "del", "dev", "lo", "clsact"});
        GTEST_SKIP() << "this kernel has no matchall or gact: " << egress.err;
    }
    both(fast, fast);
    must_run({"tc", "filter", "add", "dev", "lo", "ingress", "matchall", "action", "ok"});
    both(kept, kept);
    judge_firewall();
    both(kept, kept);
    must_run({"tc", "filter", "del", "dev", "lo", "ingress"});
    both(fast, fast);
    must_run({"tc", "qdisc", "del", "dev", "lo", "clsact"});
    both(fast, fast);
}

// netdev's and inet's chains at ingress are in one list, which is the device's.
TEST_F(Firewall, AChainAtIngressHoldsForItsDevice) {
    must_run({"ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1"});
    for (const char* family : {"netdev", "inet"}) {
        SCOPED_TRACE(family);
        const auto chain = [&](const char* device, const char* name) {
            return fmt::format(
                "add table {0} t; add chain {0} t {1} {{ type filter hook ingress device {2} priority 0; }};"
                "add rule {0} t {1} counter",
                family, name, device);
        };
        ASSERT_TRUE(nft(chain("d0", "other")));
        both(kept, kept);
        judge_firewall();
        both(fast, fast);
        ASSERT_TRUE(nft(chain("lo", "own")));
        both(kept, kept);
        judge_firewall();
        both(kept, kept);
        ASSERT_TRUE(nft(fmt::format("flush chain {} t own", family)));
        both(kept, kept);
        judge_firewall();
        both(fast, fast);
        ASSERT_TRUE(nft("flush ruleset"));
    }
    must_run({"ip", "link", "del", "d0"});
}

TEST_F(Firewall, MoreChainsThanAreLookedAtAreKept) {
    std::string commands = "add table ip t";
    for (int i = 0; i <= MILLRACE_MOST_NFT; ++i) {
        judge_firewall();
        both(fast, fast);
        commands += fmt::format("; add chain ip t c{} {{ type filter hook forward priority {}; }}", i, i);
        ASSERT_TRUE(nft(commands));
        both(kept, kept);
    }
    judge_firewall();
    both(kept, fast);
}

// A table that wakes is hooked up, and its rules hold, long before the generation that its transaction makes.
TEST_F(Firewall, AChainThatWakesIsKeptWhileItsTransactionIsUnderWay) {
    const std::string file = std::filesystem::temp_directory_path() / fmt::format("mrbpf-{}.nft", getpid());
    {
        std::ofstream rules(file);
        rules << "add table inet u\nadd table inet v\nadd chain inet v e\n";
        for (int i = 0; i < 30'000; ++i) {
            rules << "add rule inet v e udp dport " << i + 1 << " counter\n";
        }
    }
    int seen = 0;
    for (int round = 0; round < 10 && seen == 0 && !HasFailure(); ++round) {
        ASSERT_TRUE(nft("flush ruleset"));
        ASSERT_TRUE(nft(forward));
        ASSERT_TRUE(
            nft("add table inet u { flags dormant; };"
                "add chain inet u d { type filter hook forward priority 1; }; add rule inet u d drop"));
        judge_firewall();
        both(fast, fast);
        const auto judged = read_hooks();
        ASSERT_TRUE(judged);
        std::atomic<bool> done = false;
        int code = -1;
        std::thread loader([&] {
            code = run({"nft", "-f", file}).code;
            done = true;
        });
        while (!done && !HasFailure()) {
            const auto now = read_hooks();
            const auto awake = [](const steering::Hook& h) { return h.chain == "d" && !h.empty; };
            if (now && now->generation == judged->generation &&
                std::any_of(now->all.begin(), now->all.end(), awake)) {
                ++seen;
                both(kept, kept);
            }
        }
        loader.join();
        EXPECT_EQ(code, 0);
        both(kept, kept);
    }
    std::filesystem::remove(file);
    EXPECT_GT(seen, 0) << "the transactions were over too soon";
}

}  // namespace
}  // namespace millrace::test
