// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Look-around: a page that was found young has neighbours that may be young
// too. They are asked on the way, so that they need not be found one by one.
//
// Contract
//   Any thread, not inside a walk and holding no lock of a table. Concurrently,
//   anything may happen.
//
//   1. The own entry of the page is tested and cleared: young is young, by a
//      fast MMU.
//   2. The secondary MMUs' answer is ORed in, by the slow question.
//   3. Not young: that is the answer, complete or not.
//   4. Young is the answer now, whatever comes. An answer that was not fast, a
//      special mapping, and a lock of the page's table that somebody holds,
//      each only leave the neighbours out:
//        look-around: clears the bit, finds the lock taken: "not young"
//        evictor: takes the page, though it was just used.
//   5. Else up to kMostLookedAt pages are asked, the page among them,
//   fast-only,
//      in one leaf table and one mapping; those that were young are cleared and
//      reported.
//
//   Progress: 1 waits for a place to begin its walk, 2 as the secondary MMUs'
//   slow question does; the rest waits for nothing.

#ifndef PTAGE_LRU_LOOK_AROUND_H_
#define PTAGE_LRU_LOOK_AROUND_H_

#include <algorithm>
#include <cstdint>

#include "ptage/primary_mmu.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// Also the bits of LookedAround::young.
inline constexpr std::uint64_t kMostLookedAt = 64;

// Why neighbours were left out.
enum class LeftOut {
  kNothing,    // they were asked
  kNotYoung,   // the page itself is not
  kNotFast,    // an MMU that is not fast said that it is young
  kSpecial,    // it lies in a special mapping, or in none
  kContended,  // somebody holds the lock of its leaf table
};

// What was found, of the page and around it.
struct LookedAround {
  // Of the page. With young neighbours it is young, too.
  AgeResult page;
  // Why it is alone.
  LeftOut left_out = LeftOut::kNothing;
  // The frames that were asked, the page among them; empty if none was.
  GfnRange asked;
  // Bit i: frame asked.begin + i is young.
  std::uint64_t young = 0;
};

// Asks a page, and its neighbours if it is young: see the contract. `mmu` is a
// PrimaryMmu.
template <class Mmu>
LookedAround LookAround(Mmu& mmu, Gfn page);

// ---------------------------------------------------------------------------

template <class Mmu>
LookedAround LookAround(Mmu& mmu, Gfn page) {
  const GfnRange itself{page, page + 1};
  LookedAround result;
  result.page =
      mmu.AgeOwn(itself, AgeAction::kTestAndClear, AgeMode::kSlow, AgeOutput{});
  // Asked whatever the own entry says: or the next to ask would find an access
  // that belongs to this one.
  result.page |= mmu.AgeOthers(itself, AgeAction::kTestAndClear, AgeMode::kSlow,
                               AgeOutput{});
  const auto leave_out = [&](LeftOut why) {
    result.left_out = why;
    return result;
  };
  if (!result.page.young) return leave_out(LeftOut::kNotYoung);
  if (!result.page.was_fast) return leave_out(LeftOut::kNotFast);
  const auto mapping = mmu.MappingAt(page);
  if (!mapping.has_value() || mapping->kind == MappingKind::kSpecial) {
    return leave_out(LeftOut::kSpecial);
  }
  const auto hold = mmu.TryLockTable(page);
  if (!hold) return leave_out(LeftOut::kContended);
  constexpr std::uint64_t kFrames =
      std::min(kMostLookedAt, Mmu::kFramesPerLock);
  const Gfn first{page.value / kFrames * kFrames};
  result.asked = mapping->frames.Clip(GfnRange{first, first + kFrames});
  (void)mmu.TestClearYoungFastOnly(
      result.asked,
      AgeOutput{.begin = result.asked.begin,
                .young = Bitmap(&result.young, result.asked.Frames())});
  result.young |= std::uint64_t{1} << (page - result.asked.begin);
  return result;
}

}  // namespace ptage

#endif  // PTAGE_LRU_LOOK_AROUND_H_
