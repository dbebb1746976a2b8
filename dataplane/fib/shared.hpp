// SPDX-License-Identifier: BSD-3-Clause
// Memory that the control thread writes while workers read it.
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace millrace::dataplane {

// A single value that a worker reads while the control thread replaces it: readers see the old or the new
// one, and everything written before the store.
template <class T>
T load_shared(const T& where) {
    return std::atomic_ref<T>(const_cast<T&>(where)).load(std::memory_order_acquire);
}
template <class T>
void store_shared(T& where, T value) {
    std::atomic_ref<T>(where).store(value, std::memory_order_release);
}

// A zeroed array whose address never changes. Memory is taken as it is touched, so a generous limit costs
// address space only. valid() is false when the kernel refused the mapping.
template <class T>
class ReservedArray {
  public:
    explicit ReservedArray(size_t count) : bytes_(count * sizeof(T)), count_(count) {
        void* p =
            mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p != MAP_FAILED) {
            data_ = static_cast<T*>(p);
            madvise(p, bytes_, MADV_HUGEPAGE);  // fewer TLB misses; where it is refused, 4 kB pages do
        }
    }
    ~ReservedArray() {
        if (data_ != nullptr) {
            munmap(data_, bytes_);
        }
    }
    ReservedArray(const ReservedArray&) = delete;
    ReservedArray& operator=(const ReservedArray&) = delete;

    [[nodiscard]] bool valid() const { return data_ != nullptr; }
    [[nodiscard]] size_t size() const { return count_; }
    T& operator[](size_t i) { return data_[i]; }
    const T& operator[](size_t i) const { return data_[i]; }

  private:
    T* data_ = nullptr;
    size_t bytes_ = 0;
    size_t count_ = 0;
};

}  // namespace millrace::dataplane
