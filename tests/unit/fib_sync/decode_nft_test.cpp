// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/decode_nft.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <random>

#include "messages.hpp"

namespace millrace::sync::test {
namespace {

using Payload = std::vector<std::byte>;

Payload payload(const Wire& wire) {
    Payload all = wire.bytes();
    return {all.begin() + NLMSG_HDRLEN, all.end()};
}
nfgenmsg header(uint8_t family = NFPROTO_INET) {
    return {.nfgen_family = family, .version = NFNETLINK_V0, .res_id = 0};
}
void append_number(Payload& to, uint16_t type, uint32_t value) {
    const uint32_t big_endian = htonl(value);
    append_attribute(to, type, &big_endian, sizeof(big_endian));
}
void append_name(Payload& to, uint16_t type, const std::string& name) {
    append_attribute(to, type, name.c_str(), name.size() + 1);
}
Payload hook(uint32_t number, uint32_t priority, const std::vector<std::string>& devices = {}) {
    Payload all;
    append_number(all, NFTA_HOOK_HOOKNUM, number);
    append_number(all, NFTA_HOOK_PRIORITY, priority);
    if (devices.size() == 1) {
        append_name(all, NFTA_HOOK_DEV, devices[0]);
    }
    if (!devices.empty()) {
        Payload names;
        for (const std::string& device : devices) {
            append_name(names, NFTA_DEVICE_NAME, device);
        }
        append_attribute(all, NFTA_HOOK_DEVS | NLA_F_NESTED, names.data(), names.size());
    }
    return all;
}
Wire chain(uint8_t family, const Payload& hooked, uint32_t policy, uint32_t rules) {
    Wire wire(NFT_MSG_NEWCHAIN, 0, header(family));
    wire.text(NFTA_CHAIN_TABLE, "filter").text(NFTA_CHAIN_NAME, "forward");
    wire.attribute(NFTA_CHAIN_HANDLE, uint64_t{1});
    if (!hooked.empty()) {
        wire.nested(NFTA_CHAIN_HOOK, hooked).attribute(NFTA_CHAIN_POLICY, htonl(policy));
        wire.text(NFTA_CHAIN_TYPE, "filter");
    }
    return wire.attribute(NFTA_CHAIN_USE, htonl(rules)).attribute(uint16_t{99}, uint64_t{0});
}
Wire generation(uint32_t id) {
    return Wire(NFT_MSG_NEWGEN, 0, header(NFPROTO_UNSPEC))
        .attribute(NFTA_GEN_ID, htonl(id))
        .attribute(NFTA_GEN_PROC_PID, htonl(4711))
        .text(NFTA_GEN_PROC_NAME, "nft");
}

TEST(DecodeNft, Generation) {
    const auto told = decode_nft_generation(payload(generation(0x01020304)));
    ASSERT_TRUE(told.has_value());
    EXPECT_EQ(*told, 0x01020304U);
    EXPECT_FALSE(decode_nft_generation(payload(Wire(0, 0, header()).text(NFTA_GEN_PROC_NAME, "nft"))));
    EXPECT_FALSE(decode_nft_generation(payload(Wire(0, 0, header()).attribute(NFTA_GEN_ID, uint16_t{1}))));
}

TEST(DecodeNft, Chains) {
    const auto forward =
        decode_nft_chain(payload(chain(NFPROTO_INET, hook(NF_INET_FORWARD, 0xfffffffb), NF_DROP, 3)));
    ASSERT_TRUE(forward && *forward);
    EXPECT_TRUE(**forward == (NftBaseChain{.family = NFPROTO_INET,
                                           .table = "filter",
                                           .name = "forward",
                                           .hook = NF_INET_FORWARD,
                                           .priority = -5,
                                           .policy = NF_DROP,
                                           .rules = 3,
                                           .type = "filter"}));
    const auto other = decode_nft_chain(payload(chain(NFPROTO_INET, {}, 0, 3)));
    EXPECT_TRUE(other && !*other) << "a chain that is only jumped to";
}

TEST(DecodeNft, DevicesOfAChain) {
    for (const auto& devices : std::vector<std::vector<std::string>>{{"eth0"}, {"eth0", "eth1"}}) {
        const auto told = decode_nft_chain(
            payload(chain(NFPROTO_NETDEV, hook(NF_NETDEV_INGRESS, 0, devices), NF_ACCEPT, 0)));
        ASSERT_TRUE(told && *told);
        EXPECT_EQ((*told)->devices, devices);
        EXPECT_EQ((*told)->policy, uint32_t{NF_ACCEPT});
    }
}

TEST(DecodeNft, WhatHasNoNameOrShortNumbersIsMalformed) {
    EXPECT_FALSE(decode_nft_chain(payload(Wire(0, 0, header()).text(NFTA_CHAIN_TABLE, "filter"))));
    EXPECT_FALSE(decode_nft_chain(payload(Wire(0, 0, header())
                                              .text(NFTA_CHAIN_TABLE, "filter")
                                              .text(NFTA_CHAIN_NAME, "forward")
                                              .attribute(NFTA_CHAIN_USE, uint8_t{1}))));
    for (size_t size = 0; size < sizeof(nfgenmsg); ++size) {
        EXPECT_FALSE(decode_nft_chain(Payload(size)));
        EXPECT_FALSE(decode_nft_generation(Payload(size)));
    }
}

// ASan sees a read past the end: each copy has its own allocation of exactly that size.
TEST(DecodeNft, CutAndFlipped) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    size_t understood = 0;
    const auto decode_all = [&understood](const Payload& p) {
        understood += decode_nft_generation(p).has_value() ? 1 : 0;
        understood += decode_nft_chain(p).has_value() ? 1 : 0;
    };
    for (const Payload& whole :
         {payload(generation(7)), payload(chain(NFPROTO_INET, hook(NF_INET_FORWARD, 0), NF_DROP, 3)),
          payload(chain(NFPROTO_NETDEV, hook(NF_NETDEV_INGRESS, 0, {"eth0"}), NF_ACCEPT, 0)),
          payload(chain(NFPROTO_NETDEV, hook(NF_NETDEV_EGRESS, 0, {"eth0", "eth1"}), NF_ACCEPT, 0))}) {
        for (size_t size = 0; size <= whole.size(); ++size) {
            Payload cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
            cut.shrink_to_fit();
            decode_all(cut);
        }
        for (int i = 0; i < 1000; ++i) {
            Payload flipped = whole;
            for (auto n = 1 + random() % 3; n > 0; --n) {
                flipped[random() % flipped.size()] = static_cast<std::byte>(random() & 0xff);
            }
            decode_all(flipped);
        }
    }
    EXPECT_GT(understood, 0U);
}

}  // namespace
}  // namespace millrace::sync::test
