// SPDX-License-Identifier: BSD-3-Clause
// Frames through the real forwarder: each is sent, punted as it was received, or dropped and counted, once;
// no buffer is lost. Each begins with its length, two bytes, and its ingress port.
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "tests/dataplane/test_router.hpp"

using namespace millrace;
using millrace::test::TestRouter;

namespace {

TestRouter& router() {
    static TestRouter* const made = [] {
        auto* r = new TestRouter;
        const AdjacencyId a = r->neighbour(1, MacAddress{{2, 0, 0, 0, 0, 1}});
        const AdjacencyId b = r->neighbour(2, MacAddress{{2, 0, 0, 0, 0, 2}});
        const GroupId one = r->group({{.adjacency = a, .weight = 1}});
        const GroupId two = r->group({{.adjacency = a, .weight = 1}, {.adjacency = b, .weight = 3}});
        for (const char* prefix : {"10.0.0.0/8", "2001:db8::/32"}) {
            r->route(prefix, one);
        }
        for (const char* prefix : {"0.0.0.0/0", "::/0"}) {
            r->route(prefix, two);
        }
        for (const char* prefix : {"10.9.0.0/16", "2001:db8:9::/48"}) {
            r->route(prefix, r->group(Reason::drop_blackhole));
        }
        return r;
    }();
    return *made;
}

uint64_t counted(TestRouter& r, unsigned port) {
    uint64_t sum = 0;
    for (unsigned reason = 0; reason < reason_count; ++reason) {
        sum += r.count(port, static_cast<Reason>(reason));
    }
    return sum;
}

void must(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "%s\n", what);
        std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    TestRouter& r = router();
    for (size_t at = 0; at + 3 <= size;) {
        const size_t length = std::min<size_t>((size_t{data[at]} << 8 | data[at + 1]) % 2048, size - at - 3);
        const unsigned port = data[at + 2] % TestRouter::ports;
        const std::vector<test::Bytes> frames = {{data + at + 3, data + at + 3 + length}};
        at += 3 + length;
        if (length == 0) {
            continue;  // the kernel gives none to a socket
        }
        const uint64_t before = counted(r, port);
        r.receive(port, frames);
        const auto sent = r.sent();
        const auto punted = r.punted();
        must(counted(r, port) == before + 1, "not counted once");
        must(sent.size() + punted.size() <= 1, "more came out than went in");
        must(punted.empty() || punted.front().frame == frames.front(), "a punted frame was changed");
        must(sent.empty() || sent.front().frame.size() <= length, "a frame that was sent is longer");
        must(r.free_buffers() == TestRouter::buffers, "a buffer is lost");
    }
    return 0;
}
