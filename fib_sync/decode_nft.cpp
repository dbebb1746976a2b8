// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/decode_nft.hpp"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <cerrno>
#include <utility>

namespace millrace::sync {
namespace {

tl::unexpected<Error> malformed(const char* what) {
    return fail(fmt::format("malformed nf_tables message: {}", what), EBADMSG);
}

// All numbers of nf_tables are in network byte order.
bool number(Bytes value, uint32_t& out) {
    const auto big_endian = read<uint32_t>(value);
    if (!big_endian || value.size() != sizeof(uint32_t)) {
        return false;
    }
    out = ntohl(*big_endian);
    return true;
}

bool decode_devices(Bytes nested, std::vector<std::string>& devices) {
    AttributeReader attributes(nested);
    while (const auto a = attributes.next()) {
        // Of NFTA_DEVICE_PREFIX (Linux 6.16) the value is one, too, less its last characters.
        devices.push_back(text_of(a->value));
    }
    return !attributes.malformed();
}

bool decode_hook(Bytes nested, NftBaseChain& chain) {
    AttributeReader attributes(nested);
    bool good = true;
    while (const auto a = attributes.next()) {
        uint32_t priority = 0;
        switch (a->type) {
            case NFTA_HOOK_HOOKNUM:
                good = number(a->value, chain.hook) && good;
                break;
            case NFTA_HOOK_PRIORITY:
                good = number(a->value, priority) && good;
                chain.priority = static_cast<int32_t>(priority);
                break;
            case NFTA_HOOK_DEV:
                chain.devices.push_back(text_of(a->value));
                break;
            case NFTA_HOOK_DEVS:
                // One device is told both ways.
                chain.devices.clear();
                good = decode_devices(a->value, chain.devices) && good;
                break;
            default:
                break;
        }
    }
    return good && !attributes.malformed();
}

}  // namespace

Result<uint32_t> decode_nft_generation(Bytes payload) {
    if (!read<nfgenmsg>(payload)) {
        return malformed("too short");
    }
    uint32_t generation = 0;
    bool told = false;
    AttributeReader attributes(after(payload, sizeof(nfgenmsg)));
    while (const auto a = attributes.next()) {
        if (a->type == NFTA_GEN_ID) {
            told = number(a->value, generation);
        }
    }
    if (attributes.malformed() || !told) {
        return malformed("NFTA_GEN_ID");
    }
    return generation;
}

Result<std::optional<NftBaseChain>> decode_nft_chain(Bytes payload) {
    const auto header = read<nfgenmsg>(payload);
    if (!header) {
        return malformed("too short");
    }
    NftBaseChain chain{.family = header->nfgen_family, .table = {}, .name = {}};
    bool base = false;
    AttributeReader attributes(after(payload, sizeof(nfgenmsg)));
    while (const auto a = attributes.next()) {
        bool good = true;
        switch (a->type) {
            case NFTA_CHAIN_TABLE:
                chain.table = text_of(a->value);
                break;
            case NFTA_CHAIN_NAME:
                chain.name = text_of(a->value);
                break;
            case NFTA_CHAIN_TYPE:
                chain.type = text_of(a->value);
                break;
            case NFTA_CHAIN_HOOK:
                base = true;
                good = decode_hook(a->value, chain);
                break;
            case NFTA_CHAIN_POLICY:
                good = number(a->value, chain.policy);
                break;
            case NFTA_CHAIN_USE:
                good = number(a->value, chain.rules);
                break;
            default:
                break;
        }
        if (!good) {
            return malformed("chain");
        }
    }
    if (attributes.malformed() || chain.table.empty() || chain.name.empty()) {
        return malformed("chain without a name");
    }
    return base ? std::optional(std::move(chain)) : std::nullopt;
}

}  // namespace millrace::sync
