// SPDX-License-Identifier: BSD-3-Clause
// Netlink messages, one behind the other as in a datagram: none is read past its end, and what the mirror
// tells its sink keeps to the contract of sink.hpp, whatever they say. The first byte says which decoder.
#include <gtest/gtest.h>

#include "fib_sync/decode.hpp"
#include "fib_sync/decode_policy.hpp"
#include "fib_sync/mirror.hpp"
#include "tests/unit/fib_sync/recording_sink.hpp"

using namespace millrace;
using namespace millrace::sync;

namespace {

void decode_policies(Bytes payload) {
    static_cast<void>(decode_rule(payload));
    static_cast<void>(decode_switches(payload));
    static_cast<void>(decode_qdisc(payload));
    static_cast<void>(decode_xfrm_policy(payload));
    static_cast<void>(decode_xfrm_default(payload));
    static_cast<void>(decode_link_ipv6(payload));
}

// A dump of half of them, then notifications; at the end a second dump, of nothing.
void mirror_them(Bytes bytes) {
    test::RecordingSink sink;
    Mirror mirror{sink, {"e1", "e2"}};
    mirror.begin_resync();
    const size_t half = bytes.size() / 2;
    bool dumping = true;
    for (Bytes rest = bytes; rest.size() >= sizeof(nlmsghdr);) {
        if (dumping && rest.size() < half) {
            dumping = false;
            mirror.end_resync();
            mirror.commit();
        }
        const size_t length =
            std::clamp<size_t>(read<nlmsghdr>(rest)->nlmsg_len, sizeof(nlmsghdr), rest.size());
        if (const auto message = decode(rest.first(length)); message && *message) {
            mirror.apply(**message);
        }
        if (!dumping) {
            mirror.commit();
        }
        rest = after(rest, length);
    }
    if (dumping) {
        mirror.end_resync();
        mirror.commit();
    }
    mirror.begin_resync();
    mirror.end_resync();
    mirror.commit();
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
    static_cast<void>(argc);
    static_cast<void>(argv);
    int one = 1;
    std::string name = "fuzz";
    std::array<char*, 2> arguments = {name.data(), nullptr};
    testing::InitGoogleTest(&one, arguments.data());
    GTEST_FLAG_SET(throw_on_failure, true);  // an EXPECT of the sink that fails is a finding
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
    if (size > 0 && data[0] == 0xff) {
        decode_policies(bytes.subspan(1));
    } else {
        mirror_them(bytes);
    }
    return 0;
}
