// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Arrays that are larger than the caches, in huge pages where the OS grants
// them: else what is measured is the TLB.

#ifndef PTAGE_BENCH_HUGE_ARRAY_H_
#define PTAGE_BENCH_HUGE_ARRAY_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <type_traits>

namespace ptage::bench {

// `size` objects, value-initialised.
template <class T>
class HugeArray {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  explicit HugeArray(std::size_t size) : size_(size), objects_(Allocate(size)) {
    std::uninitialized_value_construct_n(objects_.get(), size);
  }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] T* data() { return objects_.get(); }
  [[nodiscard]] T& operator[](std::size_t i) { return objects_.get()[i]; }

 private:
  struct Free {
    void operator()(T* objects) const { std::free(objects); }
  };

  static T* Allocate(std::size_t size) {
    constexpr std::size_t kHuge = std::size_t{2} << 20;
    const std::size_t bytes = (size * sizeof(T) + kHuge) / kHuge * kHuge;
    void* const block = std::aligned_alloc(kHuge, bytes);
    if (block == nullptr) std::abort();
    // A wish; small pages do as well.
    (void)madvise(block, bytes, MADV_HUGEPAGE);
    return static_cast<T*>(block);
  }

  std::size_t size_;
  std::unique_ptr<T, Free> objects_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_HUGE_ARRAY_H_
