// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/lpm_trie.hpp"

#include <algorithm>

namespace millrace::dataplane {

LpmTrie::LpmTrie(uint32_t max_nodes, Quiescence& quiescence)
    : quiescence_(quiescence),
      max_nodes_(max_nodes),
      entries_(root_size + size_t{max_nodes} * node_size),
      depths_(root_size + size_t{max_nodes} * node_size),
      users_(max_nodes) {}

void LpmTrie::lookup_bulk(std::span<const uint8_t* const> addresses, uint32_t* out) const {
    for (size_t i = 0; i < addresses.size(); ++i) {
        const uint8_t* a = addresses[i];
        out[i] = load_shared(entries_[(static_cast<uint32_t>(a[0]) << 8) | a[1]]);
    }
    // One level for all addresses at a time: their cache misses overlap.
    bool deeper = true;
    for (size_t byte = 2; deeper; ++byte) {
        deeper = false;
        for (size_t i = 0; i < addresses.size(); ++i) {
            if ((out[i] & child_flag) != 0) {
                out[i] = load_shared(entries_[node_base(out[i] & ~child_flag) + addresses[i][byte]]);
                deeper |= (out[i] & child_flag) != 0;
            }
        }
    }
}

LpmTrie::Cover LpmTrie::cover_of(const Prefix& prefix) const {
    for (unsigned length = prefix.length; length-- > 0;) {
        if (count_by_length_[length] == 0) {
            continue;
        }
        const auto found = prefixes_.find(Prefix::make(prefix.address, length));
        if (found != prefixes_.end()) {
            return {found->second, static_cast<uint8_t>(length + 1)};
        }
    }
    return {};
}

std::optional<uint32_t> LpmTrie::allocate_node(uint32_t fill, uint8_t depth) {
    uint32_t node = 0;
    if (!free_nodes_.empty()) {
        node = free_nodes_.back();
        free_nodes_.pop_back();
    } else if (next_node_ < max_nodes_) {
        node = next_node_++;
    } else {
        return std::nullopt;
    }
    const size_t base = node_base(node);
    for (size_t i = 0; i < node_size; ++i) {
        entries_[base + i] = fill;  // not published yet
        depths_[base + i] = depth;
    }
    users_[node] = 0;
    ++nodes_in_use_;
    return node;
}

void LpmTrie::free_node(uint32_t node) {
    quiescence_.retire([this, node] {
        free_nodes_.push_back(node);
        --nodes_in_use_;
    });
}

template <class Change>
void LpmTrie::for_each_leaf(size_t first, size_t count, const Change& change) {
    for (size_t i = first; i < first + count; ++i) {
        if ((entries_[i] & child_flag) != 0) {
            for_each_leaf(node_base(entries_[i] & ~child_flag), node_size, change);
        } else {
            change(i);
        }
    }
}

void LpmTrie::pin(size_t entry) {
    store_shared(entries_[entry], 0U);
    depths_[entry] = pinned;
    ++overflowed_;
}

namespace {
// Bits from .. from + width - 1 of an address as a number.
size_t bits_at(const IpAddress& address, unsigned from, unsigned width) {
    size_t v = 0;
    for (unsigned byte = from / 8; byte < (from + width) / 8; ++byte) {
        v = (v << 8) | address.bytes[byte];
    }
    return v;
}
}  // namespace

bool LpmTrie::insert(const Prefix& prefix, uint32_t value) {
    const bool is_new = prefixes_.insert_or_assign(prefix, value).second;
    if (is_new) {
        ++count_by_length_[prefix.length];
    }
    size_t base = 0;
    unsigned from = 0;
    unsigned width = root_bits;
    while (prefix.length > from + width) {
        const size_t entry = base + bits_at(prefix.address, from, width);
        if ((entries_[entry] & child_flag) == 0) {
            if (depths_[entry] == pinned) {
                return false;
            }
            const auto node = allocate_node(entries_[entry], depths_[entry]);
            if (!node) {
                pin(entry);
                return false;
            }
            store_shared(entries_[entry], *node | child_flag);
        }
        const uint32_t node = entries_[entry] & ~child_flag;
        users_[node] += is_new ? 1 : 0;
        base = node_base(node);
        from += width;
        width = node_bits;
    }
    const size_t count = size_t{1} << (from + width - prefix.length);
    const auto depth = static_cast<uint8_t>(prefix.length + 1);
    for_each_leaf(base + bits_at(prefix.address, from, width), count, [&](size_t i) {
        if (depths_[i] <= depth) {
            depths_[i] = depth;
            store_shared(entries_[i], value);
        }
    });
    return true;
}

void LpmTrie::collapse(size_t entry, uint32_t node, const Prefix& region) {
    // Not simply the node's first entry: that one may be pinned.
    const auto own = prefixes_.find(region);
    const Cover cover = own != prefixes_.end() ? Cover{own->second, static_cast<uint8_t>(region.length + 1)}
                                               : cover_of(region);
    depths_[entry] = cover.depth;
    store_shared(entries_[entry], cover.value);
    free_node(node);
}

bool LpmTrie::remove(const Prefix& prefix) {
    if (prefixes_.erase(prefix) == 0) {
        return false;
    }
    --count_by_length_[prefix.length];
    const Cover cover = cover_of(prefix);
    const auto depth = static_cast<uint8_t>(prefix.length + 1);

    size_t base = 0;
    unsigned from = 0;
    unsigned width = root_bits;
    std::array<size_t, 16> path{};  // entries that lead to the node where the prefix ends
    unsigned steps = 0;
    while (prefix.length > from + width) {
        const size_t entry = base + bits_at(prefix.address, from, width);
        if ((entries_[entry] & child_flag) == 0) {
            break;  // pinned above: this prefix never had a node of its own
        }
        path[steps++] = entry;
        base = node_base(entries_[entry] & ~child_flag);
        from += width;
        width = node_bits;
    }
    if (prefix.length <= from + width) {
        const size_t count = size_t{1} << (from + width - prefix.length);
        for_each_leaf(base + bits_at(prefix.address, from, width), count, [&](size_t i) {
            if (depths_[i] == depth) {
                depths_[i] = cover.depth;
                store_shared(entries_[i], cover.value);
            }
        });
    }
    // A node that no prefix ends in or below holds its cover everywhere: the entry above can say so itself.
    while (steps-- > 0) {
        const size_t entry = path[steps];
        const uint32_t node = entries_[entry] & ~child_flag;
        if (--users_[node] == 0) {
            collapse(entry, node, Prefix::make(prefix.address, root_bits + steps * node_bits));
        }
    }
    return true;
}

}  // namespace millrace::dataplane
