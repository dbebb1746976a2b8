// SPDX-License-Identifier: BSD-3-Clause
// `millrace explain`: the words of a question, the frame that is made of them, and the verdict.
#include <gtest/gtest.h>

#include <netinet/in.h>

#include <cerrno>
#include <string>
#include <vector>

#include "dataplane/cli/explain_answer.hpp"
#include "dataplane/cli/explain_question.hpp"
#include "tests/support/frame.hpp"

namespace millrace::cli {
namespace {

using Words = std::vector<std::string>;

Words split(const std::string& text) {
    Words words;
    size_t begin = 0;
    while (begin < text.size()) {
        const size_t end = std::min(text.find(' ', begin), text.size());
        words.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return words;
}

TEST(ExplainQuestion, WordsAreUnderstood) {
    const auto q = parse_question(split("in eth0.7 from 10.0.0.1 to 10.0.0.2 tcp 1024 179 length 1400"), "");
    ASSERT_TRUE(q) << q.error().text();
    ASSERT_TRUE(q->packet);
    EXPECT_EQ(q->port, "eth0.7");
    EXPECT_EQ(q->packet->source.text(), "10.0.0.1");
    EXPECT_EQ(q->packet->destination.text(), "10.0.0.2");
    EXPECT_EQ(q->packet->protocol, IPPROTO_TCP);
    EXPECT_EQ(q->packet->source_port, 1024);
    EXPECT_EQ(q->packet->destination_port, 179);
    EXPECT_EQ(q->packet->length, 1400U);
    const auto plain = parse_question(split("in a from ::1 to ::2"), "");
    ASSERT_TRUE(plain && plain->packet);
    EXPECT_EQ(plain->packet->protocol, IPPROTO_UDP);
    EXPECT_EQ(plain->packet->length, 48U);
    const auto icmp = parse_question(split("in a from ::1 to ::2 icmp"), "");
    ASSERT_TRUE(icmp && icmp->packet);
    EXPECT_EQ(icmp->packet->protocol, IPPROTO_ICMPV6);
    const auto given = parse_question(split("in a"), "02:00:00:00:00:01 020000000002\n0806 00");
    ASSERT_TRUE(given) << given.error().text();
    EXPECT_FALSE(given->packet);
    EXPECT_EQ(hex(given->frame), "020000000001020000000002080600");
}

TEST(ExplainQuestion, WhatIsWrongIsSaidInOneLine) {
    const std::pair<const char*, const char*> cases[] = {
        {"", ""},
        {"in", ""},
        {"in a", ""},
        {"in a from 10.0.0.1", ""},
        {"in a from 10.0.0.1 to", ""},
        {"in a from 10.0.0.1 to 10.0.0.256", ""},
        {"in a to 10.0.0.2 from 10.0.0.1", ""},
        {"in a from 10.0.0.1 to ::1", ""},
        {"in a from 10.0.0.1 to 10.0.0.2 udp", ""},
        {"in a from 10.0.0.1 to 10.0.0.2 udp 1", ""},
        {"in a from 10.0.0.1 to 10.0.0.2 udp 1 65536", ""},
        {"in a from 10.0.0.1 to 10.0.0.2 udp 1 -2", ""},
        {"in a from 10.0.0.1 to 10.0.0.2 length", ""},
        {"in a from 10.0.0.1 to 10.0.0.2 length 27", ""},
        {"in a from 10.0.0.1 to 10.0.0.2 tcp 1 2 length 39", ""},
        {"in a from 10.0.0.1 to 10.0.0.2 length 9217", ""},
        {"in a from 10.0.0.1 to 10.0.0.2 length 100 100", ""},
        {"in a from 10.0.0.1 to 10.0.0.2 sctp 1 2", ""},
        {"in a", "0g00"},
        {"in a", "0200000000010200000000020800 4"},
        {"in a", "02000000000102000000000208"},
        {"in a from 10.0.0.1 to 10.0.0.2", "0200000000010200000000020800"},
    };
    for (const auto& [words, frame] : cases) {
        const auto q = parse_question(split(words), frame);
        ASSERT_FALSE(q) << words << " " << frame;
        EXPECT_FALSE(q.error().text().empty());
        EXPECT_EQ(q.error().text().find('\n'), std::string::npos) << words;
    }
}

// The tests' own builder makes frames in another way.
TEST(ExplainQuestion, FramesAreRight) {
    using namespace millrace::test;
    const auto of = [](const std::string& words) {
        const auto q = parse_question(split(words), "");
        return q ? frame_of(*q->packet, router_mac) : std::vector<uint8_t>();
    };
    const auto v4 = [] {
        return Ipv4{.source = address("10.0.0.1"), .destination = address("10.0.0.2"), .dont_fragment = true};
    };
    const Bytes udp4 = of("in a from 10.0.0.1 to 10.0.0.2 udp 1024 53 length 47");
    auto ip = v4();
    ip.ttl = udp4[22];
    ip.id = 0;
    EXPECT_EQ(udp4, Frame()
                        .ethernet({.source = MacAddress{{2, 0, 0, 0, 0, 1}}})
                        .ipv4(ip)
                        .udp({.source = 1024, .destination = 53})
                        .payload(Bytes(19))
                        .bytes());
    const Bytes udp6 = of("in a from 2001:db8::1 to 2001:db8::2 udp 1024 53 length 1281");
    EXPECT_EQ(udp6.size(), 14U + 1281);
    const auto packet = packet_of(udp6);
    ASSERT_TRUE(packet);
    EXPECT_EQ(packet->length, 1281U);
    EXPECT_EQ(packet->destination_port, 53);
    EXPECT_EQ(packet->destination.text(), "2001:db8::2");
}

Answer found(const char* classifier, const char* worker) {
    const Answer hop = {{"gateway", "10.0.2.2"}, {"interface", "b0"}, {"usable", true}};
    return {
        {"classifier", {{"reason", classifier}, {"text", "c"}, {"left_out", nullptr}}},
        {"workers",
         {{"reason", worker},
          {"text", "w"},
          {"packet", {{"destination", "10.9.0.1"}}},
          {"route", {{"same", true}, {"via", {hop}}}},
          {"next_hop", hop}}},
        {"kernel", {{"type", "unicast"}, {"device", "b0"}, {"gateway", "10.0.2.2"}, {"refused", nullptr}}}};
}

TEST(ExplainAnswer, SaysWhoHandlesThePacket) {
    Answer answer = found("redirect", "forwarded");
    EXPECT_EQ(judge(answer), explain_fast_path);
    EXPECT_TRUE(answer["differs"].is_null());
    answer = found("local", "forwarded");
    EXPECT_EQ(judge(answer), explain_kernel);
    answer = found("redirect", "punt_ttl");
    EXPECT_EQ(judge(answer), explain_kernel);
    answer = found("redirect", "drop_ip_checksum");
    EXPECT_EQ(judge(answer), explain_dropped) << "the kernel's routes know nothing of it";
    answer = found("redirect", "forwarded");
    answer["classifier"] = {{"error", "no permission"}};
    EXPECT_EQ(judge(answer), explain_not_known);
    EXPECT_EQ(answer["why"], "no permission");
}

TEST(ExplainAnswer, SaysWhereTheKernelWouldSendItElsewhere) {
    Answer answer = found("redirect", "forwarded");
    answer["kernel"]["device"] = "c0";
    EXPECT_EQ(judge(answer), explain_differs);
    answer = found("redirect", "forwarded");
    answer["kernel"]["gateway"] = "10.0.2.3";
    EXPECT_EQ(judge(answer), explain_differs);
    answer = found("redirect", "forwarded");
    answer["kernel"]["gateway"] = nullptr;
    EXPECT_EQ(judge(answer), explain_differs);
    answer = found("redirect", "forwarded");
    answer["kernel"] = {{"type", "local"}, {"refused", nullptr}};
    EXPECT_EQ(judge(answer), explain_differs);
    answer = found("redirect", "forwarded");
    answer["kernel"] = {{"refused", "unreachable"}, {"errno", ENETUNREACH}};
    EXPECT_EQ(judge(answer), explain_differs);
    answer = found("redirect", "drop_blackhole");
    EXPECT_EQ(judge(answer), explain_differs);
    answer["kernel"] = {{"refused", "discarded"}, {"errno", EINVAL}};
    EXPECT_EQ(judge(answer), explain_dropped);
    answer = found("redirect", "forwarded");
    answer["workers"]["route"]["same"] = false;
    EXPECT_EQ(judge(answer), explain_differs);
}

// Which of several next hops has a flow is each side's own choice.
TEST(ExplainAnswer, AnotherMemberOfTheRouteIsNoDifference) {
    Answer answer = found("redirect", "forwarded");
    answer["workers"]["route"]["via"].push_back({{"gateway", "10.0.3.2"}, {"interface", "c0"}});
    answer["kernel"]["device"] = "c0";
    answer["kernel"]["gateway"] = "10.0.3.2";
    EXPECT_EQ(judge(answer), explain_fast_path);
}

TEST(ExplainAnswer, AHostOfTheLinkIsItsOwnGateway) {
    Answer answer = found("redirect", "forwarded");
    answer["workers"]["packet"]["destination"] = "10.0.2.2";
    answer["kernel"]["gateway"] = nullptr;
    EXPECT_EQ(judge(answer), explain_fast_path);
}

}  // namespace
}  // namespace millrace::cli
