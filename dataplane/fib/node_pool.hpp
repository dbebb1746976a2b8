// SPDX-License-Identifier: BSD-3-Clause
// Memory for trie nodes of a few sizes, up to a limit. It is cut into slabs of one size each; a slab that
// runs empty may take another size next, so what one mix of prefixes leaves another can use.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/fib/shared.hpp"

namespace millrace::dataplane {

class NodePool {
  public:
    static constexpr size_t unit_words = 4;  // a node begins at a multiple of 16 bytes

    // limit: bytes of nodes; memory is touched as it is used.
    explicit NodePool(size_t limit);
    [[nodiscard]] bool valid() const { return words_.valid(); }

    // Control thread. words <= max_words. Returns the node's unit, never 0; nullopt: the limit is reached.
    std::optional<uint32_t> allocate(unsigned words);
    // The node must be out of every reader's reach. words: as allocated.
    void release(uint32_t unit, unsigned words);

    [[nodiscard]] size_t bytes_in_use() const { return units_in_use_ * unit_words * sizeof(uint32_t); }
    // Grows with each release: whoever found no room may look again when it has.
    [[nodiscard]] uint64_t releases() const { return releases_; }

    // Any thread.
    [[nodiscard]] const uint32_t* at(uint32_t unit) const { return &words_[unit * unit_words]; }
    [[nodiscard]] uint32_t* at(uint32_t unit) { return &words_[unit * unit_words]; }

  private:
    static constexpr uint32_t none = UINT32_MAX;
    static constexpr unsigned slab_units = 256;  // 4 kB
    // In units. Up to a cache line (4) a node shares its line with no other's half.
    static constexpr std::array<uint8_t, 9> sizes{1, 2, 4, 6, 8, 10, 12, 14, 17};

    struct Slab {
        std::array<uint64_t, slab_units / 64> free{};  // a bit for each node
        uint32_t previous = none;                      // in the list of slabs of its size with a free node
        uint32_t next = none;
        uint16_t used = 0;
        uint8_t size = 0;  // index of sizes
    };
    static unsigned size_for(unsigned words);
    std::optional<uint32_t> open_slab(unsigned size);
    void link(uint32_t slab);
    void unlink(uint32_t slab);

    ReservedArray<uint32_t> words_;  // unit 0 belongs to the owner
    std::vector<Slab> slabs_;
    std::vector<uint32_t> empty_;  // slabs without a size
    std::array<uint32_t, sizes.size()> partial_;
    uint32_t max_slabs_;
    size_t units_in_use_ = 0;
    uint64_t releases_ = 0;
};

}  // namespace millrace::dataplane
