// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Shared words as objects of the Relacy race detector, for the searches in
// test/. Included by once.h, which documents the interface. A `Cell` is larger
// than its value here, so tables are small and need not look like hardware's.

#ifndef PTAGE_ONCE_RELACY_H_
#define PTAGE_ONCE_RELACY_H_

#ifndef PTAGE_ONCE_H_
#error "include \"ptage/once.h\" instead"
#endif

namespace ptage {

namespace internal {

constexpr rl::memory_order RelacyOrder(int order) {
  switch (order) {
    case __ATOMIC_RELAXED:
      return rl::mo_relaxed;
    case __ATOMIC_ACQUIRE:
      return rl::mo_acquire;
    case __ATOMIC_RELEASE:
      return rl::mo_release;
    // For the sites that name kSeqCst, whose reason stands there.
    case __ATOMIC_SEQ_CST:
      return rl::mo_seq_cst;
    default:
      return rl::mo_acq_rel;
  }
}

}  // namespace internal

template <Shareable T>
class Cell {
 public:
  Cell() = default;
  explicit Cell(T value) { word_.store(value, rl::mo_relaxed, RL_INFO); }

  rl::atomic<T>& Raw() { return word_; }
  const rl::atomic<T>& Raw() const { return word_; }

 private:
  rl::atomic<T> word_;
};

template <class T, int kOrder>
[[nodiscard]] inline T ReadOnce(const Cell<T>& cell, Order<kOrder>) {
  return cell.Raw().load(internal::RelacyOrder(kOrder), RL_INFO);
}

template <class T, int kOrder>
inline void WriteOnce(Cell<T>& cell, std::type_identity_t<T> value,
                      Order<kOrder>) {
  cell.Raw().store(value, internal::RelacyOrder(kOrder), RL_INFO);
}

template <class T, int kOrder>
[[nodiscard]] inline bool TryCmpxchg(Cell<T>& cell,
                                     std::type_identity_t<T> seen,
                                     std::type_identity_t<T> desired,
                                     Order<kOrder>) {
  return cell.Raw().compare_exchange(rl::bool_t<false>(), seen, desired,
                                     internal::RelacyOrder(kOrder),
                                     rl::mo_relaxed, RL_INFO);
}

template <class T, int kOrder>
inline T FetchAdd(Cell<T>& cell, std::type_identity_t<T> n, Order<kOrder>) {
  return cell.Raw().rmw(rl::rmw_type_t<rl::rmw_type_add>(), n,
                        internal::RelacyOrder(kOrder), RL_INFO);
}

template <class T>
class Plain {
 public:
  Plain() = default;
  explicit Plain(T value) { Set(value); }

  [[nodiscard]] T Get() const { return value_(RL_INFO).load(); }
  void Set(T value) { value_(RL_INFO).store(value); }

 private:
  // Relacy's load is not const, though it changes nothing that a caller sees.
  mutable rl::var<T> value_;
};

inline void Prefetch(const void*) {}
inline void PrefetchLater(const void*) {}

// Tells the scheduler that this thread waits, or a full search would let it
// spin for ever.
inline void SpinPause() { rl::yield(1, RL_INFO); }

// Each line that nobody writes makes a search longer, and shows nothing.
inline constexpr unsigned kThreadLines = 2;

[[nodiscard]] inline unsigned ThreadHint() {
  return static_cast<unsigned>(rl::ctx().current_thread());
}

}  // namespace ptage

#endif  // PTAGE_ONCE_RELACY_H_
