// SPDX-License-Identifier: BSD-3-Clause
// nf_tables' netlink bytes -> values. Pure, any thread. Never reads past the bytes given.
//
// payload: behind the netlink header. Error = malformed: names message and attribute.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fib_sync/attributes.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

// The ruleset's generation: NFT_MSG_NEWGEN, as an answer to NFT_MSG_GETGEN or unasked.
[[nodiscard]] Result<uint32_t> decode_nft_generation(Bytes payload);

// A chain that the kernel calls at a hook.
struct NftBaseChain {
    uint8_t family = 0;  // NFPROTO_* of linux/netfilter.h
    std::string table;
    std::string name;
    uint32_t hook = 0;  // NF_INET_* or NF_NETDEV_*
    int32_t priority = 0;
    uint32_t policy = 1;                 // NF_DROP or NF_ACCEPT of linux/netfilter.h
    uint32_t rules = 0;                  // and jumps to it, of which a base chain has none
    std::string type{};                  // "filter", "nat", "route"
    std::vector<std::string> devices{};  // of the netdev family, and of inet's ingress

    bool operator==(const NftBaseChain&) const = default;
};
// NFT_MSG_NEWCHAIN; nullopt: it is no base chain, which others only jump to.
[[nodiscard]] Result<std::optional<NftBaseChain>> decode_nft_chain(Bytes payload);

}  // namespace millrace::sync
