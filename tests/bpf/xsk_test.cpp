// SPDX-License-Identifier: BSD-3-Clause
// What the kernel says of real AF_XDP sockets when their netdev goes.
#include "dataplane/port/xsk.hpp"

#include <linux/if_xdp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "veth_fixture.hpp"

namespace millrace::test {
namespace {

using dataplane::xsk_is_bound;
using dataplane::xsk_try;

class XskTest : public VethTest {
  protected:
    static Ifindex index() { return Ifindex{if_nametoindex("e0")}; }
    // A socket on queue 0 of e0.
    steering::Fd bound() {
        constexpr int descriptors = 16;
        constexpr size_t bytes = size_t{descriptors} * 4096;
        void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        EXPECT_NE(memory, MAP_FAILED);
        steering::Fd fd(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
        xdp_umem_reg umem{};
        umem.addr = reinterpret_cast<uintptr_t>(memory);
        umem.len = bytes;
        umem.chunk_size = 4096;
        EXPECT_EQ(setsockopt(fd.get(), SOL_XDP, XDP_UMEM_REG, &umem, sizeof(umem)), 0);
        for (const int ring : {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING}) {
            EXPECT_EQ(setsockopt(fd.get(), SOL_XDP, ring, &descriptors, sizeof(descriptors)), 0);
        }
        sockaddr_xdp address{};
        address.sxdp_family = AF_XDP;
        address.sxdp_ifindex = raw(index());
        address.sxdp_flags = XDP_COPY;
        // The kernel lets go of a queue a moment after its socket was closed.
        int result = -1;
        for (int i = 0; i < 200 && result != 0; ++i) {
            usleep(i == 0 ? 0 : 10'000);
            result = bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
        }
        EXPECT_EQ(result, 0);
        return fd;
    }
};

TEST_F(XskTest, BoundWhileTheNetdevIsThereUpOrDown) {
    const steering::Fd fd = bound();
    EXPECT_TRUE(xsk_is_bound(fd.get()));
    must_run({"ip", "link", "set", "e0", "down"});
    EXPECT_TRUE(xsk_is_bound(fd.get()));
    must_run({"ip", "link", "set", "e0", "name", "other"});
    must_run({"ip", "link", "set", "other", "name", "e0"});
    must_run({"ip", "link", "set", "e0", "up"});
    EXPECT_TRUE(xsk_is_bound(fd.get()));
}

TEST_F(XskTest, DeadForGoodOnceTheNetdevIsGoneWhateverComesAfterIt) {
    const steering::Fd fd = bound();
    const std::string same = std::to_string(raw(index()));
    delete_veth();
    EXPECT_FALSE(xsk_is_bound(fd.get()));
    must_run({"ip", "link", "add", "e0", "index", same, "type", "veth", "peer", "name", "e1"});
    must_run({"ip", "link", "set", "e0", "up"});
    EXPECT_FALSE(xsk_is_bound(fd.get()));
}

TEST_F(XskTest, DeadAfterAnotherNamespace) {
    const steering::Fd fd = bound();
    must_run({"ip", "netns", "add", "millrace-xsk-test"});
    must_run({"ip", "link", "set", "e0", "netns", "millrace-xsk-test"});
    EXPECT_FALSE(xsk_is_bound(fd.get()));
    must_run({"ip", "link", "del", "e1"});  // both ends, at once; the namespace's end takes its time
    must_run({"ip", "netns", "del", "millrace-xsk-test"});
}

TEST_F(XskTest, TryingTellsWhetherThereIsASocketToHave) {
    EXPECT_TRUE(xsk_try(index(), 0, false));
    const auto no_queue = xsk_try(index(), 63, false);
    ASSERT_FALSE(no_queue);
    EXPECT_FALSE(xsk_try(index(), 0, true)) << "veth has no zero-copy without a driver's help";
    const steering::Fd fd = bound();
    const auto taken = xsk_try(index(), 0, false);
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().text(), "queue 0: another program has its AF_XDP socket");
}

TEST_F(XskTest, AnEmptyTransmitRingIsFoundEmptyAndOneOfADownNetdevIsNotWaitedFor) {
    const steering::Fd fd = bound();
    EXPECT_TRUE(dataplane::XskTransmitRing(fd.get()).empty());
    must_run({"ip", "link", "set", "e0", "down"});
    EXPECT_TRUE(dataplane::XskTransmitRing(fd.get()).empty());
}

}  // namespace
}  // namespace millrace::test
