// SPDX-License-Identifier: BSD-3-Clause
// An ordered map from prefixes of both families, IPv4 first, that is small: a million prefixes cost little
// more than their keys and values. Pointers to values last until something is inserted or erased.
#pragma once

#include <absl/container/btree_map.h>
#include <endian.h>

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "millrace/types.hpp"

namespace millrace::sync {

enum class Visit : uint8_t { next, erase, stop };

template <class Value>
class PrefixTable {
  public:
    // Finds or creates.
    Value& at(const Prefix& p) { return is_ipv4(p) ? ipv4_[Key4(p)] : ipv6_[Key6(p)]; }
    [[nodiscard]] Value* find(const Prefix& p) {
        return is_ipv4(p) ? find_in(ipv4_, Key4(p)) : find_in(ipv6_, Key6(p));
    }
    [[nodiscard]] const Value* find(const Prefix& p) const {
        return is_ipv4(p) ? find_in(ipv4_, Key4(p)) : find_in(ipv6_, Key6(p));
    }
    void erase(const Prefix& p) {
        if (is_ipv4(p)) {
            ipv4_.erase(Key4(p));
        } else {
            ipv6_.erase(Key6(p));
        }
    }
    [[nodiscard]] size_t size() const { return ipv4_.size() + ipv6_.size(); }
    [[nodiscard]] size_t size(Family family) const {
        return family == Family::ipv4 ? ipv4_.size() : ipv6_.size();
    }

    // Calls f(prefix, value) for each one behind `after` (nullptr: from the beginning), in order, and does
    // what it returns. f must not insert or erase by itself.
    template <class F>
    void visit(const Prefix* after, F f) {
        visit_both(*this, after, f);
    }
    template <class F>
    void visit(const Prefix* after, F f) const {
        visit_both(*this, after, f);
    }

  private:
    // In host order, so that they compare as the addresses do.
    struct Key4 {
        uint32_t address;
        uint8_t length;

        explicit Key4(const Prefix& p) : length(p.length) {
            std::memcpy(&address, p.address.bytes.data(), sizeof(address));
            address = be32toh(address);
        }
        [[nodiscard]] Prefix prefix() const {
            const uint32_t bytes = htobe32(address);
            return {IpAddress::from_bytes(Family::ipv4, &bytes), length};
        }
        auto operator<=>(const Key4&) const = default;
    };
    struct Key6 {
        std::array<uint32_t, 4> address;
        uint8_t length;

        explicit Key6(const Prefix& p) : length(p.length) {
            std::memcpy(address.data(), p.address.bytes.data(), sizeof(address));
            for (uint32_t& word : address) {
                word = be32toh(word);
            }
        }
        [[nodiscard]] Prefix prefix() const {
            std::array<uint32_t, 4> bytes = address;
            for (uint32_t& word : bytes) {
                word = htobe32(word);
            }
            return {IpAddress::from_bytes(Family::ipv6, bytes.data()), length};
        }
        auto operator<=>(const Key6&) const = default;
    };

    static bool is_ipv4(const Prefix& p) { return p.address.family == Family::ipv4; }

    template <class Table>
    static auto find_in(Table& table, const typename Table::key_type& key) {
        const auto found = table.find(key);
        return found == table.end() ? nullptr : &found->second;
    }

    template <class Self, class F>
    static void visit_both(Self& self, const Prefix* after, F& f) {
        if (after == nullptr || is_ipv4(*after)) {
            if (!visit_one(self.ipv4_, after, f)) {
                return;
            }
            after = nullptr;
        }
        visit_one(self.ipv6_, after, f);
    }
    // False when f said stop.
    template <class Table, class F>
    static bool visit_one(Table& table, const Prefix* after, F& f) {
        using Key = typename Table::key_type;
        auto at = after == nullptr ? table.begin() : table.upper_bound(Key(*after));
        while (at != table.end()) {
            const Visit wish = f(at->first.prefix(), at->second);
            if (wish == Visit::stop) {
                return false;
            }
            if constexpr (!std::is_const_v<Table>) {
                if (wish == Visit::erase) {
                    at = table.erase(at);
                    continue;
                }
            }
            ++at;
        }
        return true;
    }

    absl::btree_map<Key4, Value> ipv4_;
    absl::btree_map<Key6, Value> ipv6_;
};

}  // namespace millrace::sync
