// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Shared words over the compiler's `__atomic` builtins. Included by once.h,
// which documents the interface.

#ifndef PTAGE_ONCE_BUILTIN_H_
#define PTAGE_ONCE_BUILTIN_H_

#ifndef PTAGE_ONCE_H_
#error "include \"ptage/once.h\" instead"
#endif

namespace ptage {

template <Shareable T>
class Cell {
 public:
  Cell() = default;
  explicit constexpr Cell(T value) : value_(value) {}

  // The word itself, for this backend's functions alone.
  volatile T* Raw() { return &value_; }
  const volatile T* Raw() const { return &value_; }

 private:
  // A 64-bit word is 8-byte aligned even where the ABI would say 4.
  alignas(sizeof(T)) T value_;
};

static_assert(sizeof(Cell<std::uint64_t>) == 8);
static_assert(alignof(Cell<std::uint64_t>) == 8);
static_assert(std::is_trivially_copyable_v<Cell<std::uint64_t>>);

template <class T, int kOrder>
[[nodiscard]] inline T ReadOnce(const Cell<T>& cell, Order<kOrder>) {
  // Sequentially consistent as one of four, see kSeqCst.
  static_assert(kOrder == __ATOMIC_RELAXED || kOrder == __ATOMIC_ACQUIRE ||
                kOrder == __ATOMIC_SEQ_CST);
  return __atomic_load_n(cell.Raw(), kOrder);
}

template <class T, int kOrder>
inline void WriteOnce(Cell<T>& cell, std::type_identity_t<T> value,
                      Order<kOrder>) {
  // Sequentially consistent as one of four, see kSeqCst.
  static_assert(kOrder == __ATOMIC_RELAXED || kOrder == __ATOMIC_RELEASE ||
                kOrder == __ATOMIC_SEQ_CST);
  __atomic_store_n(cell.Raw(), value, kOrder);
}

template <class T, int kOrder>
[[nodiscard]] inline bool TryCmpxchg(Cell<T>& cell,
                                     std::type_identity_t<T> seen,
                                     std::type_identity_t<T> desired,
                                     Order<kOrder>) {
  return __atomic_compare_exchange_n(cell.Raw(), &seen, desired,
                                     /*weak=*/false, kOrder, __ATOMIC_RELAXED);
}

template <class T, int kOrder>
inline T FetchAdd(Cell<T>& cell, std::type_identity_t<T> n, Order<kOrder>) {
  static_assert(std::is_integral_v<T>);
  return __atomic_fetch_add(cell.Raw(), n, kOrder);
}

template <class T>
class Plain {
 public:
  Plain() = default;
  explicit constexpr Plain(T value) : value_(value) {}

  [[nodiscard]] T Get() const { return value_; }
  void Set(T value) { value_ = value; }

 private:
  T value_;
};

inline void Prefetch(const void* address) {
  __builtin_prefetch(address);
  // To gcc a prefetch has no effect, so that calls of a function which does no
  // more than this would be left out.
  asm volatile("");
}
inline void PrefetchLater(const void* address) {
  __builtin_prefetch(address, 0, 2);
  asm volatile("");
}

inline void SpinPause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// More than most hosts let run at the same time; who looks at all of them reads
// a kilobyte.
inline constexpr unsigned kThreadLines = 16;

// Threads that run at the same time have different stacks, and a freestanding
// core has no thread-local storage to count on.
[[nodiscard]] inline unsigned ThreadHint() {
  const auto frame =
      reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  // Stacks are at least pages apart; Fibonacci hashing (Knuth, TAOCP 6.4)
  // spreads the page number.
  return static_cast<unsigned>(
      ((static_cast<std::uint64_t>(frame) >> 13) * 0x9E3779B97F4A7C15u) >> 40);
}

}  // namespace ptage

#endif  // PTAGE_ONCE_BUILTIN_H_
