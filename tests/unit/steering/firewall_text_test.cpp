// SPDX-License-Identifier: BSD-3-Clause
// What is left to the kernel of what leaves over a device.
#include <gtest/gtest.h>

#include "dataplane/daemon/firewall_watch.hpp"

namespace millrace::test {
namespace {

using steering::Hook;

Hook egress_chain(bool empty) {
    Hook h;
    h.where = Hook::Where::netdev;
    h.number = 1;
    h.ifindex = Ifindex{3};
    h.kind = Hook::Kind::nft;
    h.function = "nft_do_chain_netdev";
    h.table = "t";
    h.empty = empty;
    return h;
}
dataplane::FirewallWatch::Found found(std::vector<Hook> all) {
    dataplane::FirewallWatch::Found f;
    f.hooks.devices = {{Ifindex{3}, 1}, {Ifindex{4}, 2}};
    f.hooks.all = std::move(all);
    return f;
}

TEST(FirewallEgress, IsKeptForTheDeviceThatHasRulesThere) {
    EXPECT_TRUE(kept_egress(found({}), {}).empty());
    EXPECT_TRUE(kept_egress(found({egress_chain(true)}), {}).empty());
    EXPECT_EQ(kept_egress(found({egress_chain(false)}), {}), std::set{Ifindex{3}});
    EXPECT_TRUE(kept_egress(found({egress_chain(false)}), {.firewall = {.ignore = {"netdev t"}}}).empty());
}

// The classifier can't see them for itself.
TEST(FirewallEgress, IsKeptForAllDevicesWhereTheListIsNotWhole) {
    auto cut = found({egress_chain(true)});
    cut.hooks.incomplete = true;
    EXPECT_EQ(kept_egress(cut, {}), (std::set{Ifindex{3}, Ifindex{4}}));
}

}  // namespace
}  // namespace millrace::test
