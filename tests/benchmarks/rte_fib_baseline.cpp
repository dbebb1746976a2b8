// SPDX-License-Identifier: BSD-3-Clause
#include "benchmarks/rte_fib_baseline.hpp"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_memory.h>
#include <rte_vect.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace millrace::test {

namespace {
// Without hugetlbfs DPDK takes its memory from a memfd, which has no huge pages. What is in use of it, little
// as yet, moves to anonymous memory in the same place.
int use_huge_pages(const rte_memseg_list* list) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    auto* const base = static_cast<uint8_t*>(list->base_va);
    std::vector<uint8_t> resident(list->len / page);
    if (mincore(base, list->len, resident.data()) != 0) {
        return 0;
    }
    std::map<size_t, std::vector<uint8_t>> content;
    for (size_t i = 0; i < resident.size(); ++i) {
        if ((resident[i] & 1) != 0) {
            content[i * page].assign(base + i * page, base + (i + 1) * page);
        }
    }
    if (mmap(base, list->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
        MAP_FAILED) {
        std::fprintf(stderr, "error: no memory for DPDK\n");
        std::exit(2);
    }
    madvise(base, list->len, MADV_HUGEPAGE);
    for (const auto& [offset, bytes] : content) {
        std::copy(bytes.begin(), bytes.end(), base + offset);
    }
    return 0;
}
}  // namespace

void start_eal(size_t megabytes) {
    std::vector<std::string> words{"bench-fib",
                                   "--no-huge",
                                   "--no-pci",
                                   "--no-shconf",
                                   "--no-telemetry",
                                   "--iova-mode=va",
                                   "--log-level=error",
                                   "--force-max-simd-bitwidth=512",
                                   "-m",
                                   std::to_string(megabytes)};
    std::vector<char*> argv;
    for (std::string& w : words) {
        argv.push_back(w.data());
    }
    if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
        std::fprintf(stderr, "error: DPDK does not start: %s\n", rte_strerror(rte_errno));
        std::exit(2);
    }
    rte_memseg_list_walk([](const rte_memseg_list* list, void*) { return use_huge_pages(list); }, nullptr);
}

namespace {
[[noreturn]] void no_fib() {
    std::fprintf(stderr, "error: no rte_fib: %s\n", rte_strerror(rte_errno));
    std::exit(2);
}
}  // namespace

RteFib::RteFib(Family family, std::span<const std::pair<Prefix, uint32_t>> table) {
    const auto routes = static_cast<int>(table.size() * 2 + 1024);
    if (family == Family::ipv4) {
        rte_fib_conf conf{};
        conf.type = RTE_FIB_DIR24_8;
        conf.max_routes = routes;
        conf.dir24_8.nh_sz = RTE_FIB_DIR24_8_4B;
        conf.dir24_8.num_tbl8 = 1U << 16;
        fib4_ = rte_fib_create("fib4", SOCKET_ID_ANY, &conf);
    } else {
        rte_fib6_conf conf{};
        conf.type = RTE_FIB6_TRIE;
        conf.max_routes = routes;
        conf.trie.nh_sz = RTE_FIB6_TRIE_4B;
        conf.trie.num_tbl8 = 1U << 20;
        fib6_ = rte_fib6_create("fib6", SOCKET_ID_ANY, &conf);
    }
    if (fib4_ == nullptr && fib6_ == nullptr) {
        no_fib();
    }
    for (const auto& [prefix, value] : table) {
        if (fib4_ != nullptr) {
            uint32_t ip = 0;
            std::memcpy(&ip, prefix.address.bytes.data(), sizeof(ip));
            refused_ += rte_fib_add(fib4_, ntohl(ip), prefix.length, value) == 0 ? 0 : 1;
        } else {
            refused_ += rte_fib6_add(fib6_, prefix.address.bytes.data(), prefix.length, value) == 0 ? 0 : 1;
        }
    }
}

RteFib::~RteFib() {
    rte_fib_free(fib4_);
    rte_fib6_free(fib6_);
}

bool RteFib::select(Lookup lookup) {
    const bool vector = lookup == Lookup::avx512;
    if (fib4_ != nullptr) {
        return rte_fib_select_lookup(fib4_, vector ? RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512
                                                   : RTE_FIB_LOOKUP_DIR24_8_SCALAR_MACRO) == 0;
    }
    return rte_fib6_select_lookup(
               fib6_, vector ? RTE_FIB6_LOOKUP_TRIE_VECTOR_AVX512 : RTE_FIB6_LOOKUP_TRIE_SCALAR) == 0;
}

// DPDK reads the keys only, but says so nowhere.
void RteFib::lookup_bulk(const uint32_t* keys, uint64_t* out, unsigned count) const {
    rte_fib_lookup_bulk(fib4_, const_cast<uint32_t*>(keys), out, static_cast<int>(count));
}

void RteFib::lookup_bulk(const Key6* keys, uint64_t* out, unsigned count) const {
    auto* bytes = reinterpret_cast<uint8_t(*)[16]>(const_cast<Key6*>(keys));
    rte_fib6_lookup_bulk(fib6_, bytes, out, static_cast<int>(count));
}

}  // namespace millrace::test
