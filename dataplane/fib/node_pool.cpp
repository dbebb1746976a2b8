// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/node_pool.hpp"

#include <algorithm>
#include <bit>

namespace millrace::dataplane {

// The first slab stays with the owner: its unit 0 is a node that every index "no node" may read.
NodePool::NodePool(size_t limit)
    : words_((limit / (slab_units * unit_words * sizeof(uint32_t)) + 1) * slab_units * unit_words),
      slabs_(1),
      max_slabs_(static_cast<uint32_t>(words_.size() / (slab_units * unit_words))) {
    partial_.fill(none);
}

unsigned NodePool::size_for(unsigned words) {
    const auto units = (words + unit_words - 1) / unit_words;
    return static_cast<unsigned>(std::lower_bound(sizes.begin(), sizes.end(), units) - sizes.begin());
}

void NodePool::link(uint32_t slab) {
    uint32_t& head = partial_[slabs_[slab].size];
    slabs_[slab].previous = none;
    slabs_[slab].next = head;
    if (head != none) {
        slabs_[head].previous = slab;
    }
    head = slab;
}

void NodePool::unlink(uint32_t slab) {
    const Slab& s = slabs_[slab];
    (s.previous == none ? partial_[s.size] : slabs_[s.previous].next) = s.next;
    if (s.next != none) {
        slabs_[s.next].previous = s.previous;
    }
}

std::optional<uint32_t> NodePool::open_slab(unsigned size) {
    uint32_t slab = 0;
    if (!empty_.empty()) {
        slab = empty_.back();
        empty_.pop_back();
    } else if (slabs_.size() < max_slabs_) {
        slab = static_cast<uint32_t>(slabs_.size());
        slabs_.emplace_back();
    } else {
        return std::nullopt;
    }
    Slab& s = slabs_[slab];
    s.size = static_cast<uint8_t>(size);
    const unsigned nodes = slab_units / sizes[size];
    for (unsigned i = 0; i < nodes; i += 64) {
        s.free[i / 64] = nodes - i >= 64 ? ~uint64_t{0} : (uint64_t{1} << (nodes - i)) - 1;
    }
    link(slab);
    return slab;
}

std::optional<uint32_t> NodePool::allocate(unsigned words) {
    const unsigned size = size_for(words);
    if (partial_[size] == none && !open_slab(size)) {
        return std::nullopt;
    }
    const uint32_t slab = partial_[size];
    Slab& s = slabs_[slab];
    const auto word = std::find_if(s.free.begin(), s.free.end(), [](uint64_t w) { return w != 0; });
    const auto bit = static_cast<unsigned>(std::countr_zero(*word));
    *word &= *word - 1;
    const auto node = static_cast<unsigned>(word - s.free.begin()) * 64 + bit;
    if (++s.used == slab_units / sizes[size]) {
        unlink(slab);
    }
    units_in_use_ += sizes[size];
    return slab * slab_units + node * sizes[size];
}

void NodePool::release(uint32_t unit, unsigned words) {
    const unsigned size = size_for(words);
    const uint32_t slab = unit / slab_units;
    Slab& s = slabs_[slab];
    const unsigned node = unit % slab_units / sizes[size];
    s.free[node / 64] |= uint64_t{1} << (node % 64);
    if (s.used == slab_units / sizes[size]) {
        link(slab);
    }
    if (--s.used == 0) {
        unlink(slab);
        s.free = {};
        empty_.push_back(slab);
    }
    units_in_use_ -= sizes[size];
    ++releases_;
}

}  // namespace millrace::dataplane
