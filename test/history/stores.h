// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Lets a test see each store that the library makes to an entry, and act in the
// moment before it.
//
// The shipped headers are as they are: they call WriteOnce and TryCmpxchg with
// an entry, whose type depends on a format, and so find, where they are
// instantiated, the overloads below, which are preferred for being more
// special. These do what the builtin ones do. What does not find them (a
// function that is no template, a new kind of store) is not seen; TableHistory
// notices.

#ifndef PTAGE_TEST_HISTORY_STORES_H_
#define PTAGE_TEST_HISTORY_STORES_H_

#include <cstdint>

#include "ptage/once.h"

namespace ptage {

namespace test {

class StoreObserver {
 public:
  virtual ~StoreObserver() = default;
  // The caller has decided what to store to `word`, from what it read.
  virtual void Storing(const volatile void* word) = 0;
  // `word` has been `before` until now, and is `after`.
  virtual void Stored(const volatile void* word, std::uint64_t before,
                      std::uint64_t after) = 0;
};

// Who is told of this thread's stores; null for nobody.
inline thread_local constinit StoreObserver* store_observer = nullptr;

template <class T>
void WriteObserved(Cell<T>& cell, T value, int order) {
  StoreObserver* const observer = store_observer;
  if (observer != nullptr) observer->Storing(cell.Raw());
  const T before = *cell.Raw();
  __atomic_store_n(cell.Raw(), value, order);
  if (observer != nullptr) observer->Stored(cell.Raw(), before, value);
}

template <class T>
[[nodiscard]] bool CmpxchgObserved(Cell<T>& cell, T seen, T desired,
                                   int order) {
  StoreObserver* const observer = store_observer;
  if (observer != nullptr) observer->Storing(cell.Raw());
  const T before = seen;
  if (!__atomic_compare_exchange_n(cell.Raw(), &seen, desired,
                                   /*weak=*/false, order, __ATOMIC_RELAXED)) {
    return false;
  }
  if (observer != nullptr) observer->Stored(cell.Raw(), before, desired);
  return true;
}

}  // namespace test

template <int kOrder>
void WriteOnce(Cell<std::uint32_t>& cell, std::uint32_t value, Order<kOrder>) {
  test::WriteObserved(cell, value, kOrder);
}
template <int kOrder>
void WriteOnce(Cell<std::uint64_t>& cell, std::uint64_t value, Order<kOrder>) {
  test::WriteObserved(cell, value, kOrder);
}

template <int kOrder>
[[nodiscard]] bool TryCmpxchg(Cell<std::uint32_t>& cell, std::uint32_t seen,
                              std::uint32_t desired, Order<kOrder>) {
  return test::CmpxchgObserved(cell, seen, desired, kOrder);
}
template <int kOrder>
[[nodiscard]] bool TryCmpxchg(Cell<std::uint64_t>& cell, std::uint64_t seen,
                              std::uint64_t desired, Order<kOrder>) {
  return test::CmpxchgObserved(cell, seen, desired, kOrder);
}

}  // namespace ptage

#endif  // PTAGE_TEST_HISTORY_STORES_H_
