// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Questions to up to 64 consecutive shared words at once: which of them are
// equal to a run of values, which have some bits and lack others. Here and in
// once/block.h alone are live tables and heads read by vector loads.
//
// Contract
//   * A word is a lane of 8 bytes, aligned to 8; each is read once and whole.
//     x86 processors never tear such a lane, whatever the vector's width and
//     alignment, since it lies within one cache line. Of ARM's vectors each
//     element of 8 bytes that is aligned is read whole (Arm ARM DDI 0487
//     B2.2.1).
//   * Between the words of one call there is no order: they may be read in any,
//     at different times. So an answer is about each word by itself, never
//     about a state that all were in at once.
//   * When a call returns, each word counts as read with acquire. On x86 no
//     later access overtakes a load of whatever width (Intel SDM 3A 8.2.2
//     "Reads are not reordered with other reads", "Writes are not reordered
//     with earlier reads"; AMD APM 2 7.2), so that it remains to hold the
//     compiler back. On ARM a barrier follows, once a call, that orders loads
//     before it before all accesses behind it (DMB ISHLD, DDI 0487 B2.3.7).
//     Other processors read words by acquire loads, one by one.
//   * An answer selects. A word that is to be changed, or whose meaning depends
//     on a record, is read again by whoever does that. Only what needs neither
//     may be taken from here: "nothing there", "cold" (rmap/range.h says why).
//   * Slots of lists are not to be read so: their order is the proof
//     (rmap/lockless_list.h).
//   * Wait-free.
//
// Chosen at compile time: AVX-512, AVX2, SSE2, NEON, else word by word, always
// under the thread sanitizer and Relacy, which cannot see into a vector. What
// ships there and here differs in the instructions of this header alone.
//
// Sites (order · partner)
//   [vector.1] acquire loads in WordsInRun     · [head.2], [lockless.2],
//                                                [single.2]
//   [vector.2] acquire loads in WordsHaveLack  · [spte.4], [spte.5], [spte.6]
//   [vector.3] acquire loads in SeeEachWord    · [spte.4], [spte.5], [spte.6]

#ifndef PTAGE_ONCE_VECTOR_H_
#define PTAGE_ONCE_VECTOR_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/once.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PTAGE_INTERNAL_WORD_BY_WORD 1
#endif
#endif
#if !(defined(__x86_64__) && defined(__SSE2__)) && \
    !(defined(__aarch64__) && defined(__ARM_NEON))
#define PTAGE_INTERNAL_WORD_BY_WORD 1
#endif
#if defined(__SANITIZE_THREAD__) || defined(PTAGE_RELACY)
#define PTAGE_INTERNAL_WORD_BY_WORD 1
#endif

namespace ptage {

// Words that one question is asked of at most: one bit each of the answer.
inline constexpr unsigned kBlock = 64;

// The lowest `count` bits. Precondition: count <= kBlock.
[[nodiscard]] constexpr std::uint64_t FirstLanes(unsigned count) {
  return count == kBlock ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

// How many lanes are in the set. Without an instruction for it the compiler
// would call its library, which a freestanding program need not have.
[[nodiscard]] constexpr unsigned CountLanes(std::uint64_t lanes) {
#if defined(__POPCNT__) || (defined(__aarch64__) && defined(__ARM_NEON))
  return static_cast<unsigned>(__builtin_popcountll(lanes));
#else
  lanes -= lanes >> 1 & 0x5555'5555'5555'5555;
  lanes =
      (lanes & 0x3333'3333'3333'3333) + (lanes >> 2 & 0x3333'3333'3333'3333);
  lanes = (lanes + (lanes >> 4)) & 0x0F0F'0F0F'0F0F'0F0F;
  return static_cast<unsigned>(lanes * 0x0101'0101'0101'0101 >> 56);
#endif
}

// Bit i: cells[i] is `first + i * stride`. Precondition: count <= kBlock.
template <Shareable T>
[[nodiscard]] std::uint64_t WhereInRun(const Cell<T>* cells, unsigned count,
                                       T first, T stride);

// Bit i: cells[i] has a bit of `has` and none of `lacks`. Precondition: as
// above.
template <Shareable T>
[[nodiscard]] std::uint64_t WhereHasLacks(const Cell<T>* cells, unsigned count,
                                          T has, T lacks);

// Whether all kBlock words are so; quicker to ask than where.
template <Shareable T>
[[nodiscard]] bool BlockInRun(const Cell<T>* cells, T first, T stride);
template <Shareable T>
[[nodiscard]] bool BlockHasLacks(const Cell<T>* cells, T has, T lacks);

// What words hold; bit i is about the i-th.
struct WordsSeen {
  std::uint64_t any = 0;    // a bit of `any`
  std::uint64_t both = 0;   // a bit of `any` and one of `also`
  std::uint64_t equal = 0;  // `equal`
};

// All three from one read of each. Precondition: count <= kBlock.
template <Shareable T>
[[nodiscard]] WordsSeen SeeWords(const Cell<T>* cells, unsigned count, T any,
                                 T also, T equal);

// ---------------------------------------------------------------------------

namespace internal {

template <Shareable T>
[[nodiscard]] inline std::uint64_t WordsInRun(const Cell<T>* cells,
                                              unsigned count, T first,
                                              T stride) {
  std::uint64_t where = 0;
  for (unsigned i = 0; i < count; ++i) {
    // Were this relaxed:
    //   zapper: hands the access on, stores "empty" into the head
    //   ager: reads "empty", and its caller does not find the access on record.
    // [vector.1] acquire, pairs with [head.2], [lockless.2] and [single.2].
    const T word = ReadOnce(cells[i], kAcquire);
    const bool same = word == static_cast<T>(first + i * stride);
    where |= std::uint64_t{same} << i;
  }
  return where;
}

template <Shareable T>
[[nodiscard]] inline std::uint64_t WordsHaveLack(const Cell<T>* cells,
                                                 unsigned count, T has,
                                                 T lacks) {
  std::uint64_t where = 0;
  for (unsigned i = 0; i < count; ++i) {
    // Were this relaxed:
    //   zapper: hands the access on, empties the entry
    //   fault: gives it to another page, cold
    //   ager: reads the cold entry, and its caller does not find the access on
    //     record.
    // [vector.2] acquire, pairs with [spte.4], [spte.5] and [spte.6].
    const T word = ReadOnce(cells[i], kAcquire);
    const bool so = (word & has) != 0 && (word & lacks) == 0;
    where |= std::uint64_t{so} << i;
  }
  return where;
}

template <Shareable T>
inline void SeeEachWord(const Cell<T>* cells, unsigned count, T any, T also,
                        T equal, WordsSeen& seen, unsigned lane) {
  for (unsigned i = 0; i < count; ++i, ++lane) {
    // Were this relaxed: as above.
    // [vector.3] acquire, pairs with [spte.4], [spte.5] and [spte.6].
    const T word = ReadOnce(cells[i], kAcquire);
    const bool is_any = (word & any) != 0;
    seen.any |= std::uint64_t{is_any} << lane;
    seen.both |= std::uint64_t{is_any && (word & also) != 0} << lane;
    seen.equal |= std::uint64_t{word == equal} << lane;
  }
}

}  // namespace internal

#if defined(PTAGE_INTERNAL_WORD_BY_WORD)

template <Shareable T>
std::uint64_t WhereInRun(const Cell<T>* cells, unsigned count, T first,
                         T stride) {
  PTAGE_ASSERT(count <= kBlock);
  return internal::WordsInRun(cells, count, first, stride);
}
template <Shareable T>
std::uint64_t WhereHasLacks(const Cell<T>* cells, unsigned count, T has,
                            T lacks) {
  PTAGE_ASSERT(count <= kBlock);
  return internal::WordsHaveLack(cells, count, has, lacks);
}
template <Shareable T>
bool BlockInRun(const Cell<T>* cells, T first, T stride) {
  return WhereInRun(cells, kBlock, first, stride) == FirstLanes(kBlock);
}
template <Shareable T>
bool BlockHasLacks(const Cell<T>* cells, T has, T lacks) {
  return WhereHasLacks(cells, kBlock, has, lacks) == FirstLanes(kBlock);
}
template <Shareable T>
WordsSeen SeeWords(const Cell<T>* cells, unsigned count, T any, T also,
                   T equal) {
  PTAGE_ASSERT(count <= kBlock);
  WordsSeen seen;
  internal::SeeEachWord(cells, count, any, also, equal, seen, 0);
  return seen;
}

#else

namespace internal {

// Vectors of the compiler's own kind: <immintrin.h> would bring <stdlib.h> into
// the core.
#if defined(__AVX512F__)
inline constexpr unsigned kLanes = 8;
#elif defined(__AVX2__)
inline constexpr unsigned kLanes = 4;
#else
inline constexpr unsigned kLanes = 2;
#endif
using Vector [[gnu::vector_size(kLanes * 8)]] = long long;
using SharedVector
    [[gnu::vector_size(kLanes * 8), gnu::aligned(8), gnu::may_alias]] =
        long long;

// One load, which the compiler neither repeats nor leaves out.
template <Shareable T>
[[nodiscard, gnu::always_inline]] inline Vector LoadLanes(
    const Cell<T>* cells) {
  return *reinterpret_cast<const volatile SharedVector*>(cells);
}

// Keeps the compiler, and the processor where it would, from moving accesses up
// before the loads. An instruction rather than a fence of the language, which
// knows nothing of loads that are not its own.
[[gnu::always_inline]] inline void LanesAreRead() {
#if defined(__aarch64__)
  asm volatile("dmb ishld" ::: "memory");
#else
  asm volatile("" ::: "memory");
#endif
}

[[nodiscard, gnu::always_inline]] inline unsigned WhereEqual(Vector a,
                                                             Vector b) {
#if defined(__AVX512F__)
  return __builtin_ia32_cmpq512_mask(a, b, 0, 0xFF);
#elif defined(__AVX2__)
  using Doubles [[gnu::vector_size(32)]] = double;
  return static_cast<unsigned>(
      __builtin_ia32_movmskpd256(reinterpret_cast<Doubles>(a == b)));
#elif defined(__aarch64__)
  const Vector same = a == b;
  return static_cast<unsigned>((same[0] & 1) | (same[1] & 2));
#else
  using Doubles [[gnu::vector_size(16)]] = double;
  return static_cast<unsigned>(
      __builtin_ia32_movmskpd(reinterpret_cast<Doubles>(a == b)));
#endif
}
inline constexpr unsigned kAllLanes = (1u << kLanes) - 1;

[[nodiscard, gnu::always_inline]] inline Vector Everywhere(std::uint64_t word) {
  return Vector{} + static_cast<long long>(word);
}
[[nodiscard, gnu::always_inline]] inline Vector Ramp(std::uint64_t first,
                                                     std::uint64_t stride) {
  Vector ramp{};
  for (unsigned i = 0; i < kLanes; ++i) {
    ramp[i] = static_cast<long long>(first + i * stride);
  }
  return ramp;
}

}  // namespace internal

template <Shareable T>
std::uint64_t WhereInRun(const Cell<T>* cells, unsigned count, T first,
                         T stride) {
  PTAGE_ASSERT(count <= kBlock);
  if constexpr (sizeof(T) != 8) {
    return internal::WordsInRun(cells, count, first, stride);
  } else {
    using namespace internal;
    std::uint64_t where = 0;
    Vector wanted = Ramp(first, stride);
    const Vector step = Everywhere(stride * kLanes);
    unsigned i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      where |= std::uint64_t{WhereEqual(LoadLanes(cells + i), wanted)} << i;
      wanted += step;
    }
    LanesAreRead();
    if (i < count) {
      where |= WordsInRun(cells + i, count - i,
                          static_cast<T>(first + i * stride), stride)
               << i;
    }
    return where;
  }
}

template <Shareable T>
std::uint64_t WhereHasLacks(const Cell<T>* cells, unsigned count, T has,
                            T lacks) {
  PTAGE_ASSERT(count <= kBlock);
  if constexpr (sizeof(T) != 8) {
    return internal::WordsHaveLack(cells, count, has, lacks);
  } else {
    using namespace internal;
    std::uint64_t where = 0;
    const Vector wanted = Everywhere(has);
    const Vector unwanted = Everywhere(lacks);
    unsigned i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      const Vector words = LoadLanes(cells + i);
      const unsigned so = WhereEqual(words & unwanted, Vector{}) &
                          (WhereEqual(words & wanted, Vector{}) ^ kAllLanes);
      where |= std::uint64_t{so} << i;
    }
    LanesAreRead();
    if (i < count) {
      where |= WordsHaveLack(cells + i, count - i, has, lacks) << i;
    }
    return where;
  }
}

template <Shareable T>
bool BlockInRun(const Cell<T>* cells, T first, T stride) {
  if constexpr (sizeof(T) != 8) {
    return WhereInRun(cells, kBlock, first, stride) == FirstLanes(kBlock);
  } else {
    using namespace internal;
    Vector wanted = Ramp(first, stride);
    const Vector step = Everywhere(stride * kLanes);
    Vector wrong{};
#pragma GCC unroll 8
    for (unsigned i = 0; i < kBlock; i += kLanes) {
      wrong |= LoadLanes(cells + i) ^ wanted;
      wanted += step;
    }
    LanesAreRead();
    return WhereEqual(wrong, Vector{}) == kAllLanes;
  }
}

template <Shareable T>
bool BlockHasLacks(const Cell<T>* cells, T has, T lacks) {
  if constexpr (sizeof(T) != 8) {
    return WhereHasLacks(cells, kBlock, has, lacks) == FirstLanes(kBlock);
  } else {
    using namespace internal;
    const Vector wanted = Everywhere(has);
    Vector seen{};
    unsigned missing = 0;
#pragma GCC unroll 8
    for (unsigned i = 0; i < kBlock; i += kLanes) {
      const Vector words = LoadLanes(cells + i);
      seen |= words;
      missing |= WhereEqual(words & wanted, Vector{});
    }
    LanesAreRead();
    return missing == 0 &&
           WhereEqual(seen & Everywhere(lacks), Vector{}) == kAllLanes;
  }
}

template <Shareable T>
WordsSeen SeeWords(const Cell<T>* cells, unsigned count, T any, T also,
                   T equal) {
  PTAGE_ASSERT(count <= kBlock);
  WordsSeen seen;
  if constexpr (sizeof(T) != 8) {
    internal::SeeEachWord(cells, count, any, also, equal, seen, 0);
  } else {
    using namespace internal;
    const Vector some = Everywhere(any);
    const Vector more = Everywhere(also);
    const Vector same = Everywhere(equal);
    unsigned i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      const Vector words = LoadLanes(cells + i);
      const unsigned is_any = WhereEqual(words & some, Vector{}) ^ kAllLanes;
      const unsigned is_both =
          is_any & (WhereEqual(words & more, Vector{}) ^ kAllLanes);
      seen.any |= std::uint64_t{is_any} << i;
      seen.both |= std::uint64_t{is_both} << i;
      seen.equal |= std::uint64_t{WhereEqual(words, same)} << i;
    }
    LanesAreRead();
    SeeEachWord(cells + i, count - i, any, also, equal, seen, i);
  }
  return seen;
}

#endif

}  // namespace ptage

#endif  // PTAGE_ONCE_VECTOR_H_
