// SPDX-License-Identifier: BSD-3-Clause
// What the kernel's own hooks would do with transit: which there are, and which of them it may go past.
// HookReader sees the network namespace of the calling thread; any thread, one at a time. The rest is pure.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/abi.h"
#include "millrace/config.hpp"
#include "millrace/result.hpp"
#include "millrace/types.hpp"

struct bpf_object;

namespace millrace::steering {

inline constexpr size_t most_name = 31;  // characters of a table or chain that are read

// Something registered at one of the kernel's hooks.
struct Hook {
    enum class Where : uint8_t { ipv4, ipv6, netdev, tc };
    enum class Kind : uint8_t { function, nft, bpf, tc };
    Where where = Where::ipv4;
    uint8_t number = 0;  // NF_INET_*; of netdev and tc: 0 ingress, 1 egress
    Ifindex ifindex{};   // of netdev and tc
    Kind kind = Kind::function;
    int32_t priority = 0;
    uint64_t address = 0;    // of the function in the kernel
    uint64_t argument = 0;   // of nft the chain's address
    std::string function{};  // as in /proc/kallsyms; of tc "tcx" or "tc"
    std::string table{};     // nft; its family is the function's. most_name characters: there may be more
    std::string chain{};
    uint32_t rules = 0;  // nft
    bool drops = false;  // nft: policy drop
    bool empty = false;  // nft: policy accept, and no rule is in force

    bool operator==(const Hook&) const = default;
};

struct Hooks {
    uint32_t generation = 0;                              // of the nft ruleset, as the classifier sees it
    uint64_t net = 0;                                     // addresses in the kernel: of the namespace,
    std::vector<std::pair<Ifindex, uint64_t>> devices{};  // and of the ports' devices
    std::vector<Hook> all{};
    bool incomplete = false;  // there may be more

    bool operator==(const Hooks&) const = default;
};

class HookReader {
  public:
    // Error: the kernel has no BTF (CONFIG_DEBUG_INFO_BTF), or forbids programs that read its memory.
    static Result<HookReader> load();
    // Takes some microseconds, and waits for nobody. Error code EAGAIN: a new generation came meanwhile.
    Result<Hooks> read(std::span<const Ifindex> ports);

  private:
    struct Close {
        void operator()(bpf_object* o) const;
    };
    explicit HookReader(std::unique_ptr<bpf_object, Close> object) : object_(std::move(object)) {}
    Status run(Ifindex device, Hooks& hooks);

    std::unique_ptr<bpf_object, Close> object_;
};

// Whose a hook is, and what it does, in the operator's words: "table inet filter, chain forward: 3 rules".
[[nodiscard]] std::string whose(const Hook& hook);
// "forward", "ingress"
[[nodiscard]] std::string place(const Hook& hook);
// "inet filter", as in firewall.ignore; empty: it is no chain of nftables.
[[nodiscard]] std::string table_of(const Hook& hook);

enum class Follows : uint8_t {
    nothing,  // not met by transit, or it decides nothing about it
    family,   // transit of its family is left to the kernel
    ingress,  // what comes in on its device
    egress,   // what leaves over its device
    ignored,  // the operator says that it may be passed by
};
inline constexpr size_t follows_count = 5;
constexpr std::string_view name(Follows follows) {
    constexpr std::string_view names[follows_count] = {"nothing", "kept", "ingress kept", "egress kept",
                                                       "ignored"};
    return names[static_cast<unsigned>(follows)];
}
[[nodiscard]] Follows follows(const Hook& hook, const FirewallConfig& config);

// For the classifier of a port.
[[nodiscard]] millrace_firewall judge(const Hooks& hooks, const FirewallConfig& config,
                                      const std::string& port, Ifindex ifindex);
// Does the operator want the family's hooks passed by, for what comes in on the port?
[[nodiscard]] bool bypassed(const FirewallConfig& config, const std::string& port, Family family);

}  // namespace millrace::steering
