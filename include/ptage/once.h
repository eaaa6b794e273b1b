// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The only door to words that another thread, or a page walker in hardware,
// may change.
//
// Contract
//   * A `Cell<T>` is one such word: 4 or 8 bytes, read and written whole, never
//     torn, invented, merged or repeated by the compiler (volatile and atomic).
//     It is trivially copyable and has T's size and alignment, so that an array
//     of them is the page that the hardware walks.
//   * Every access names its memory order. There are no fences: no sanitizer
//     models them, and an x86 `mfence` costs as much as fifteen locked
//     operations.
//   * A `Plain<T>` is data that one thread writes before it publishes it and
//     others only read afterwards. It costs nothing; its purpose is that a
//     search can report a race on it.
//   * Progress: every function here is wait-free, except that on a machine with
//     load-linked and store-conditional a compare-and-swap is lock-free.
//
// Numbered sites. Code that orders memory carries a comment `// [unit.N] …`
// that names its partner; a check in CI resolves each reference.
//
// Two backends: the compiler's `__atomic` builtins (which need no header, so
// that the core is freestanding), and, under PTAGE_RELACY, the objects of the
// Relacy race detector, which explores all interleavings and the reorderings
// that the C++11 memory model allows. The code above this header is the same
// for both.

#ifndef PTAGE_ONCE_H_
#define PTAGE_ONCE_H_

#include <cstdint>
#include <type_traits>

#include "ptage/config.h"

namespace ptage {

// A memory order as a type, so that it is a constant at every optimisation
// level.
template <int kOrder>
struct Order {};

inline constexpr Order<__ATOMIC_RELAXED> kRelaxed{};
inline constexpr Order<__ATOMIC_ACQUIRE> kAcquire{};
inline constexpr Order<__ATOMIC_RELEASE> kRelease{};
inline constexpr Order<__ATOMIC_ACQ_REL> kAcqRel{};
// For two threads of which each writes a word and then reads the other's, where
// one of them must see what the other wrote. Acquire and release do not say so,
// for each may read before its own write is out. All four accesses need it.
inline constexpr Order<__ATOMIC_SEQ_CST> kSeqCst{};

// What a shared word may hold.
template <class T>
concept Shareable = std::is_trivially_copyable_v<T> &&
                    (std::is_integral_v<T> || std::is_pointer_v<T>) &&
                    (sizeof(T) == 4 || sizeof(T) == 8);

}  // namespace ptage

// Each backend defines, in namespace ptage:
//
//   class Cell<T>             Cell(); explicit Cell(T)
//   T    ReadOnce(cell, order)                 kRelaxed, kAcquire or kSeqCst
//   void WriteOnce(cell, value, order)         kRelaxed, kRelease or kSeqCst
//   bool TryCmpxchg(cell, seen, desired, order)
//                             strong: false only if the word was not `seen`;
//                             then it is unchanged and the load was relaxed
//   T    FetchAdd(cell, n, order)              returns the value before
//   class Plain<T>            Plain(); explicit Plain(T); Get(); Set(T)
//   void Prefetch(address)    a hint that the line there will soon be read; any
//                             address will do
//   void PrefetchLater(a)     the same for one that is read after many others:
//                             into the second level of the cache, where more
//                             may be on their way
//   void SpinPause()          one turn of a loop that waits for another thread
//   unsigned ThreadHint()     a number that tends to differ between threads
//                             that run at the same time; only a starting point
//                             for a search, never an identity
//   unsigned kThreadLines     how many lines threads are dealt to that should
//                             not write to the same one
#if defined(PTAGE_RELACY)
#include "ptage/once/relacy.h"
#else
#include "ptage/once/builtin.h"
#endif

#endif  // PTAGE_ONCE_H_
