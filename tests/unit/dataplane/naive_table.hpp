// SPDX-License-Identifier: BSD-3-Clause
// The obviously right FIB, to compare with: prefixes in a map for each length.
#pragma once

#include <array>
#include <unordered_map>

#include "millrace/types.hpp"

namespace millrace::test {

class NaiveTable {
  public:
    void insert(const Prefix& p, uint32_t value) { routes_[p.length][p.address] = value; }
    bool remove(const Prefix& p) { return routes_[p.length].erase(p.address) != 0; }
    [[nodiscard]] bool has(const Prefix& p) const { return routes_[p.length].contains(p.address); }
    [[nodiscard]] uint32_t lookup(const IpAddress& a) const {
        for (unsigned length = address_bits(a.family) + 1; length-- > 0;) {
            if (routes_[length].empty()) {
                continue;
            }
            const auto found = routes_[length].find(Prefix::make(a, length).address);
            if (found != routes_[length].end()) {
                return found->second;
            }
        }
        return 0;
    }

  private:
    std::array<std::unordered_map<IpAddress, uint32_t>, 129> routes_;
};

}  // namespace millrace::test
