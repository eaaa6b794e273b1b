// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One question to whole blocks of 64 shared words, several blocks side by side:
// which of the words have a bit, and have all of them another one? What a scan
// of page tables spends its time in.
//
// Contract
//   As once/vector.h: lanes of 8 bytes, each read once and whole; no order
//   between the words of a call; each counts as read with acquire when the call
//   returns; an answer selects. Wait-free.
//
// Chosen at compile time as there. Where a hosted program was compiled for less
// than the processor has, AVX-512 or AVX2 is taken at run time: a block is long
// enough to pay for the call. The vectors' width matters where the words are in
// the cache; memory delivers no faster than SSE2 reads.
//
// Sites (order · partner)
//   [block.1] acquire loads in SeeSingleWords · [spte.4], [spte.5], [spte.6]
//   [block.2] acquire loads in FoldFour       · [spte.4], [spte.5], [spte.6]

#ifndef PTAGE_ONCE_BLOCK_H_
#define PTAGE_ONCE_BLOCK_H_

#include <bit>
#include <cstdint>

#include "ptage/config.h"
#include "ptage/once.h"
#include "ptage/once/vector.h"

namespace ptage {

// What kBlock words hold.
struct BlockSeen {
  bool all = false;       // each has the bit that all should have
  std::uint64_t has = 0;  // bit i: the i-th has the other bit
};

enum class Loads {
  kWidest,      // by the widest vectors that there are
  kWordByWord,  // by none: what processors get that have no vectors here
};

// Reads kSide blocks side by side, a line of each in turn. Where they lie apart
// in memory, no hardware prefetcher follows from one to the next, and this many
// lines are on their way at once instead. `all` and `has` are one bit each.
template <unsigned kSide, Loads kLoads = Loads::kWidest, Shareable T>
void SeeBlocks(const Cell<T>* const (&blocks)[kSide], T all, T has,
               BlockSeen (&seen)[kSide]);

// ---------------------------------------------------------------------------

namespace internal {

// One word after the other, whatever bits they are.
template <Shareable T>
[[nodiscard]] inline BlockSeen SeeSingleWords(const Cell<T>* cells, T all,
                                              T has) {
  BlockSeen seen{.all = true};
  for (unsigned i = 0; i < kBlock; ++i) {
    // Were this relaxed:
    //   zapper: hands the access on, empties the entry
    //   fault: gives it to another page, cold
    //   ager: reads the cold entry, and its caller does not find the access on
    //     record.
    // [block.1] acquire, pairs with [spte.4], [spte.5] and [spte.6].
    const T word = ReadOnce(cells[i], kAcquire);
    seen.all &= (word & all) != 0;
    seen.has |= std::uint64_t{(word & has) != 0} << i;
  }
  return seen;
}

// Four words on top of each other: the k-th shifted by k, so that both bits of
// all four are side by side, and three instructions do for a word. Precondition
// of what is made of it: the bits lie four apart at least.
template <Shareable T>
[[nodiscard, gnu::always_inline]] inline std::uint64_t FoldFour(
    const Cell<T>* cells, std::uint64_t bits) {
  std::uint64_t folded = 0;
#pragma GCC unroll 4
  for (int k = 3; k >= 0; --k) {
    // [block.2] acquire, as [block.1].
    folded = 2 * folded + (ReadOnce(cells[k], kAcquire) & bits);
    // Else the compiler gathers the words in vectors, which takes longer.
    asm("" : "+r"(folded));
  }
  return folded;
}

template <Shareable T>
[[nodiscard]] inline BlockSeen SeeFoldedWords(const Cell<T>* cells, T all,
                                              T has) {
  constexpr unsigned kFour = 0xF;
  const int all_bit = std::countr_zero(all);
  const int has_bit = std::countr_zero(has);
  const std::uint64_t bits = std::uint64_t{all} | has;
  std::uint64_t kept = ~std::uint64_t{0};
  std::uint64_t lanes = 0;
#pragma GCC unroll 8
  for (unsigned i = 0; i < kBlock; i += 8) {
    const std::uint64_t low = FoldFour(cells + i, bits);
    const std::uint64_t high = FoldFour(cells + i + 4, bits);
    kept &= low & high;
    lanes |= ((low >> has_bit & kFour) | (high >> has_bit & kFour) << 4) << i;
    asm("" : "+r"(lanes), "+r"(kept));
  }
  return BlockSeen{.all = (kept >> all_bit & kFour) == kFour, .has = lanes};
}

template <Shareable T>
[[nodiscard]] inline BlockSeen SeeEachOfBlock(const Cell<T>* cells, T all,
                                              T has) {
  const int apart = std::countr_zero(all) - std::countr_zero(has);
  const bool fold = (apart >= 4 || apart <= -4) &&
                    std::countl_zero(std::uint64_t{all} | has) >= 3;
  return fold ? SeeFoldedWords(cells, all, has)
              : SeeSingleWords(cells, all, has);
}

#if defined(PTAGE_INTERNAL_WORD_BY_WORD)

template <unsigned kSide, Shareable T>
inline void SeeWidest(const Cell<T>* const (&blocks)[kSide], T all, T has,
                      BlockSeen (&seen)[kSide]) {
  SeeBlocks<kSide, Loads::kWordByWord>(blocks, all, has, seen);
}

#elif defined(__aarch64__)

// Shifts by `places`, to the right where that is negative.
[[nodiscard, gnu::always_inline]] inline Vector ShiftLeft(Vector words,
                                                          Vector places) {
  Vector shifted;
  asm("ushl %0.2d, %1.2d, %2.2d" : "=w"(shifted) : "w"(words), "w"(places));
  return shifted;
}

// Keeps the lowest kKept bits of each lane of `into`, and puts those of `words`
// on top.
template <int kKept>
[[nodiscard, gnu::always_inline]] inline Vector PutOnTop(Vector into,
                                                         Vector words) {
  asm("sli %0.2d, %1.2d, %2" : "+w"(into) : "w"(words), "n"(kKept));
  return into;
}

// The bit in question of words 2k and 2k + 1 comes to bit 2k of the two lanes;
// what else is in the words is overwritten or masked out.
template <unsigned kSide, Shareable T>
inline void SeeWidest(const Cell<T>* const (&blocks)[kSide], T all, T has,
                      BlockSeen (&seen)[kSide]) {
  const Vector to_bit_0 =
      -Everywhere(static_cast<std::uint64_t>(std::countr_zero(has)));
  const Vector even = Everywhere(0x55);
  Vector kept[kSide];
  Vector lanes[kSide];
#pragma GCC unroll 8
  for (unsigned s = 0; s < kSide; ++s) {
    kept[s] = Everywhere(all);
    lanes[s] = Vector{};
  }
  for (unsigned i = 0; i < kBlock; i += 8) {
    const Vector up = Everywhere(i);
#pragma GCC unroll 8
    for (unsigned s = 0; s < kSide; ++s) {
      const Vector a = LoadLanes(blocks[s] + i);
      const Vector b = LoadLanes(blocks[s] + i + 2);
      const Vector c = LoadLanes(blocks[s] + i + 4);
      const Vector d = LoadLanes(blocks[s] + i + 6);
      kept[s] &= a & b & (c & d);
      Vector part = ShiftLeft(a, to_bit_0);
      part = PutOnTop<2>(part, ShiftLeft(b, to_bit_0));
      part = PutOnTop<4>(part, ShiftLeft(c, to_bit_0));
      part = PutOnTop<6>(part, ShiftLeft(d, to_bit_0));
      lanes[s] |= ShiftLeft(part & even, up);
    }
  }
  LanesAreRead();
#pragma GCC unroll 8
  for (unsigned s = 0; s < kSide; ++s) {
    seen[s] = BlockSeen{
        .all = (kept[s][0] & kept[s][1]) != 0,
        .has = static_cast<std::uint64_t>(lanes[s][0] | lanes[s][1] << 1)};
  }
}

#else

// Marks a function as compiled for a processor that has more than the rest of
// the program asks for.
#if defined(__AVX512F__)
#define PTAGE_INTERNAL_AVX512
#else
#define PTAGE_INTERNAL_AVX512 [[gnu::target("avx512f")]]
#endif
#if defined(__AVX2__)
#define PTAGE_INTERNAL_AVX2
#else
#define PTAGE_INTERNAL_AVX2 [[gnu::target("avx2")]]
#endif

// One function for each width, since no code may be shared between functions
// that are compiled for different processors.
template <unsigned kSide, Shareable T>
PTAGE_INTERNAL_AVX512 inline void SeeBlocks512(
    const Cell<T>* const (&blocks)[kSide], T all, T has,
    BlockSeen (&seen)[kSide]) {
  using Vector512 [[gnu::vector_size(64)]] = long long;
  using Shared512 [[gnu::vector_size(64), gnu::aligned(8), gnu::may_alias]] =
      long long;
  const Vector512 wanted = Vector512{} + static_cast<long long>(has);
  Vector512 kept[kSide];
  std::uint64_t lanes[kSide] = {};
#pragma GCC unroll 8
  for (unsigned s = 0; s < kSide; ++s) {
    kept[s] = Vector512{} + static_cast<long long>(all);
  }
#pragma GCC unroll 8
  for (unsigned i = 0; i < kBlock; i += 8) {
#pragma GCC unroll 8
    for (unsigned s = 0; s < kSide; ++s) {
      const Vector512 words =
          *reinterpret_cast<const volatile Shared512*>(blocks[s] + i);
      kept[s] &= words;
      // 4: not equal.
      const auto lane = static_cast<std::uint8_t>(
          __builtin_ia32_cmpq512_mask(words & wanted, Vector512{}, 4, 0xFF));
      lanes[s] |= std::uint64_t{lane} << i;
    }
  }
  // Keeps the compiler from moving accesses up before the loads.
  asm volatile("" ::: "memory");
#pragma GCC unroll 8
  for (unsigned s = 0; s < kSide; ++s) {
    const auto lacking = static_cast<std::uint8_t>(
        __builtin_ia32_cmpq512_mask(kept[s], Vector512{}, 0, 0xFF));
    seen[s] = BlockSeen{.all = lacking == 0, .has = lanes[s]};
  }
}

template <unsigned kSide, Shareable T>
PTAGE_INTERNAL_AVX2 inline void SeeBlocks256(
    const Cell<T>* const (&blocks)[kSide], T all, T has,
    BlockSeen (&seen)[kSide]) {
  using Vector256 [[gnu::vector_size(32)]] = long long;
  using Shared256 [[gnu::vector_size(32), gnu::aligned(8), gnu::may_alias]] =
      long long;
  using Doubles256 [[gnu::vector_size(32)]] = double;
  const int sign = std::countl_zero(has);
  const int all_sign = std::countl_zero(all);
  Vector256 kept[kSide];
  std::uint64_t lanes[kSide] = {};
#pragma GCC unroll 8
  for (unsigned s = 0; s < kSide; ++s) kept[s] = Vector256{} - 1;
#pragma GCC unroll 8
  for (unsigned i = 0; i < kBlock; i += 8) {
#pragma GCC unroll 8
    for (unsigned s = 0; s < kSide; ++s) {
      const Vector256 low =
          *reinterpret_cast<const volatile Shared256*>(blocks[s] + i);
      const Vector256 high =
          *reinterpret_cast<const volatile Shared256*>(blocks[s] + i + 4);
      kept[s] &= low & high;
      const auto lane = static_cast<unsigned>(__builtin_ia32_movmskpd256(
                            reinterpret_cast<Doubles256>(low << sign))) |
                        static_cast<unsigned>(__builtin_ia32_movmskpd256(
                            reinterpret_cast<Doubles256>(high << sign)))
                            << 4;
      lanes[s] |= std::uint64_t{lane} << i;
    }
  }
  asm volatile("" ::: "memory");
#pragma GCC unroll 8
  for (unsigned s = 0; s < kSide; ++s) {
    const int have = __builtin_ia32_movmskpd256(
        reinterpret_cast<Doubles256>(kept[s] << all_sign));
    seen[s] = BlockSeen{.all = have == 0xF, .has = lanes[s]};
  }
}

template <unsigned kSide, Shareable T>
inline void SeeBlocks128(const Cell<T>* const (&blocks)[kSide], T all, T has,
                         BlockSeen (&seen)[kSide]) {
  using Vector128 [[gnu::vector_size(16)]] = long long;
  using Shared128 [[gnu::vector_size(16), gnu::aligned(8), gnu::may_alias]] =
      long long;
  using Doubles128 [[gnu::vector_size(16)]] = double;
  const int sign = std::countl_zero(has);
  const int all_sign = std::countl_zero(all);
  Vector128 kept[kSide];
  std::uint64_t lanes[kSide] = {};
#pragma GCC unroll 8
  for (unsigned s = 0; s < kSide; ++s) kept[s] = Vector128{} - 1;
  for (unsigned i = 0; i < kBlock; i += 8) {
#pragma GCC unroll 8
    for (unsigned s = 0; s < kSide; ++s) {
      unsigned lane = 0;
#pragma GCC unroll 4
      for (unsigned k = 0; k < 8; k += 2) {
        const Vector128 words =
            *reinterpret_cast<const volatile Shared128*>(blocks[s] + i + k);
        kept[s] &= words;
        lane |= static_cast<unsigned>(__builtin_ia32_movmskpd(
                    reinterpret_cast<Doubles128>(words << sign)))
                << k;
      }
      lanes[s] |= std::uint64_t{lane} << i;
    }
  }
  asm volatile("" ::: "memory");
#pragma GCC unroll 8
  for (unsigned s = 0; s < kSide; ++s) {
    const int have = __builtin_ia32_movmskpd(
        reinterpret_cast<Doubles128>(kept[s] << all_sign));
    seen[s] = BlockSeen{.all = have == 0x3, .has = lanes[s]};
  }
}

#undef PTAGE_INTERNAL_AVX512
#undef PTAGE_INTERNAL_AVX2

template <unsigned kSide, Shareable T>
inline void SeeWidest(const Cell<T>* const (&blocks)[kSide], T all, T has,
                      BlockSeen (&seen)[kSide]) {
#if defined(__AVX512F__)
  SeeBlocks512<kSide>(blocks, all, has, seen);
#else
#if __STDC_HOSTED__
  if (__builtin_cpu_supports("avx512f")) {
    SeeBlocks512<kSide>(blocks, all, has, seen);
    return;
  }
#if !defined(__AVX2__)
  if (__builtin_cpu_supports("avx2")) {
    SeeBlocks256<kSide>(blocks, all, has, seen);
    return;
  }
#endif
#endif
#if defined(__AVX2__)
  SeeBlocks256<kSide>(blocks, all, has, seen);
#else
  SeeBlocks128<kSide>(blocks, all, has, seen);
#endif
#endif
}

#endif

}  // namespace internal

template <unsigned kSide, Loads kLoads, Shareable T>
void SeeBlocks(const Cell<T>* const (&blocks)[kSide], T all, T has,
               BlockSeen (&seen)[kSide]) {
  PTAGE_ASSERT(all != 0 && (all & (all - 1)) == 0);
  PTAGE_ASSERT(has != 0 && (has & (has - 1)) == 0);
  if constexpr (kLoads == Loads::kWidest && sizeof(T) == 8) {
    internal::SeeWidest<kSide>(blocks, all, has, seen);
  } else {
    for (unsigned s = 0; s < kSide; ++s) {
      seen[s] = internal::SeeEachOfBlock(blocks[s], all, has);
    }
  }
}

}  // namespace ptage

#endif  // PTAGE_ONCE_BLOCK_H_
