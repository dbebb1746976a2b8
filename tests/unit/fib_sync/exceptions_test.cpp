// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/exceptions.hpp"

#include <gtest/gtest.h>
#include <linux/in_route.h>
#include <linux/rtnetlink.h>

#include <random>

#include "messages.hpp"
#include "tests/support/frame.hpp"

namespace millrace::sync::test {
namespace {

using millrace::test::Frame;

std::vector<std::byte> bytes_of(const std::vector<uint8_t>& from) {
    const auto all = std::as_bytes(std::span(from));
    return {all.begin(), all.end()};
}
// As a raw socket of IPv4 gives it.
std::vector<std::byte> icmp4(uint8_t type, uint8_t code) {
    const auto quoted = Frame().ipv4({.destination = ip("203.0.113.9")}).udp().bytes();
    return bytes_of(Frame().ipv4().icmp({.type = type, .code = code}).payload(quoted).bytes());
}
// ... of IPv6: without the header.
std::vector<std::byte> icmp6(uint8_t type, const std::vector<uint8_t>& rest) {
    std::vector<uint8_t> all(8);
    all[0] = type;
    all.insert(all.end(), rest.begin(), rest.end());
    return bytes_of(all);
}

TEST(Exceptions, SubjectIsTheHostThatThePacketWasFor) {
    EXPECT_EQ(exception_subject(Family::ipv4, icmp4(3, 4)), ip("203.0.113.9"));
    EXPECT_EQ(exception_subject(Family::ipv4, icmp4(5, 1)), ip("203.0.113.9"));
    EXPECT_EQ(exception_subject(Family::ipv4, icmp4(3, 1)), std::nullopt) << "makes no exception";
    EXPECT_EQ(exception_subject(Family::ipv4, icmp4(11, 0)), std::nullopt);
    const auto quoted = Frame().ipv6({.destination = ip("2001:db8:9::9")}).udp().bytes();
    EXPECT_EQ(exception_subject(Family::ipv6, icmp6(2, quoted)), ip("2001:db8:9::9"));
    std::vector<uint8_t> redirect(32);
    const auto target = ip("fe80::1").bytes;
    const auto destination = ip("2001:db8:9::9").bytes;
    std::copy(target.begin(), target.end(), redirect.begin());
    std::copy(destination.begin(), destination.end(), redirect.begin() + 16);
    EXPECT_EQ(exception_subject(Family::ipv6, icmp6(137, redirect)), ip("2001:db8:9::9"));
    EXPECT_EQ(exception_subject(Family::ipv6, icmp6(3, quoted)), std::nullopt);
}

TEST(Exceptions, WhatIsCutShortIsNobodys) {
    const auto four = icmp4(3, 4);
    for (size_t size = 0; size < 20 + 8 + 20; ++size) {
        EXPECT_EQ(exception_subject(Family::ipv4, Bytes(four).first(size)), std::nullopt) << size;
    }
    const auto six = icmp6(2, Frame().ipv6().udp().bytes());
    for (size_t size = 0; size < 8 + 40; ++size) {
        EXPECT_EQ(exception_subject(Family::ipv6, Bytes(six).first(size)), std::nullopt) << size;
    }
}

rtmsg header_of(uint8_t family, uint8_t length, uint32_t flags) {
    rtmsg h{};
    h.rtm_family = family;
    h.rtm_dst_len = length;
    h.rtm_flags = flags;
    return h;
}

TEST(Exceptions, DecodesWhatTheKernelTells) {
    rta_cacheinfo info{};
    info.rta_expires = 59'900;  // hundredths of a second
    std::vector<std::byte> metrics;
    const uint32_t mtu = 1300;
    append_attribute(metrics, RTAX_MTU, &mtu, sizeof(mtu));
    auto wire = Wire(RTM_NEWROUTE, 0, header_of(AF_INET6, 128, RTM_F_CLONED))
                    .address(RTA_DST, "2001:db8:9::9")
                    .attribute(RTA_CACHEINFO, info)
                    .nested(RTA_METRICS, metrics);
    const auto learned = decode_exception(wire.bytes());
    ASSERT_TRUE(learned && *learned);
    EXPECT_EQ(**learned, (Exception{ip("2001:db8:9::9"), 599'000, "path MTU 1300, learned by ICMP"}));

    auto redirect = Wire(RTM_NEWROUTE, 0, header_of(AF_INET, 32, RTM_F_CLONED | RTCF_REDIRECTED))
                        .address(RTA_DST, "203.0.113.9")
                        .address(RTA_GATEWAY, "192.0.2.3");
    const auto redirected = decode_exception(redirect.bytes());
    ASSERT_TRUE(redirected && *redirected);
    EXPECT_EQ((*redirected)->text, "redirect to 192.0.2.3, learned by ICMP");
    EXPECT_GT((*redirected)->lifetime_ms, 0U);
    const auto expired = Wire(RTM_NEWROUTE, 0, header_of(AF_INET, 32, RTM_F_CLONED))
                             .address(RTA_DST, "203.0.113.9")
                             .address(RTA_GATEWAY, "192.0.2.3");
    EXPECT_EQ(decode_exception(expired.bytes()).value(), std::nullopt);
}

TEST(Exceptions, OtherMessagesAreNoneAndMalformedOnesAreErrors) {
    auto route = Wire(RTM_NEWROUTE, 0, header_of(AF_INET, 32, 0)).address(RTA_DST, "203.0.113.9");
    EXPECT_EQ(decode_exception(route.bytes()).value(), std::nullopt);
    auto nameless = Wire(RTM_NEWROUTE, 0, header_of(AF_INET, 32, RTM_F_CLONED));
    EXPECT_FALSE(decode_exception(nameless.bytes()));
    auto bytes =
        Wire(RTM_NEWROUTE, 0, header_of(AF_INET, 32, RTM_F_CLONED)).address(RTA_DST, "203.0.113.9").bytes();
    std::mt19937_64 random(1);
    for (int i = 0; i < 20'000; ++i) {  // never beyond the bytes given; ASan would tell
        auto broken = bytes;
        broken[random() % broken.size()] = static_cast<std::byte>(random());
        broken.resize(random() % (broken.size() + 1));
        (void)decode_exception(broken);
        (void)exception_subject(random() % 2 != 0 ? Family::ipv4 : Family::ipv6, broken);
    }
}

}  // namespace
}  // namespace millrace::sync::test
