// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What became of pages' accesses and writes when their mappings went away: two
// bits a frame, which a zap's sink writes and a question reads beside the page
// tables. So a page that was used, unmapped and mapped again still looks used.
//
// Contract
//   Any threads may call any function at any time.
//
//   * An access is never in neither place. A sink records it while the entry is
//     frozen, and only then is the entry empty; and who asks, asks the tables
//     first and the history after (AgeWithHistory):
//       asker: history: nothing  | zapper: records the access
//       asker: tables: empty     | zapper: empties the entry
//     is what the other order would see, and call the page idle. One that is
//     reported by both is reported twice.
//   * A page that is mapped again begins with what its entry says; what it was
//     before stays here until somebody asks for it and clears it.
//   * A bit that is cleared is in the output.
//
//   Progress: wait-free, but for Record, which is lock-free: it repeats only
//   after another thread changed the same 64 frames.
//
// Sites (order · partner)
//   [history.1] relaxed compare-and-swap in SetBits · none: who finds the
//                                                     entry empty finds the
//                                                     record by [spte.6] and
//                                                     [spte.1]
//   [history.2] relaxed compare-and-swap in Take    · none: nothing is
//                                                     published by it

#ifndef PTAGE_PAGE_HISTORY_H_
#define PTAGE_PAGE_HISTORY_H_

#include <bit>
#include <cstdint>

#include "ptage/once.h"
#include "ptage/types.h"

namespace ptage {

class PageHistory {
 public:
  // Words that `frames` frames take.
  [[nodiscard]] static constexpr std::uint64_t WordsFor(std::uint64_t frames) {
    return 2 * ((frames + 63) / 64);
  }
  // `words`, WordsFor(range.Frames()) of them, are zero and outlive the
  // history.
  PageHistory(Cell<std::uint64_t>* words, GfnRange range)
      : accessed_(words),
        dirty_(words + WordsFor(range.Frames()) / 2),
        range_(range) {}

  // For sinks: what was zapped mapped these frames. Those outside of the range
  // are forgotten.
  void Record(GfnRange frames, bool accessed, bool dirty) {
    if (accessed) SetBits(accessed_, range_.Clip(frames));
    if (dirty) SetBits(dirty_, range_.Clip(frames));
  }

  // Which frames were accessed, or written, through mappings that are gone;
  // into `output`'s young frames. Never waits. Precondition of Take: `output`
  // spans `asked`. A young answer is never `was_fast`: no MMU gave it.
  AgeResult Accessed(GfnRange asked, AgeAction action,
                     const AgeOutput& output) {
    return Take(accessed_, range_.Clip(asked), action, output);
  }
  AgeResult Written(GfnRange asked, AgeAction action, const AgeOutput& output) {
    return Take(dirty_, range_.Clip(asked), action, output);
  }

  [[nodiscard]] GfnRange range() const { return range_; }

 private:
  // The bits of frames `from` … of one word, of which `range` has some.
  [[nodiscard]] std::uint64_t MaskOf(std::uint64_t word, GfnRange range) const {
    const Gfn first = range_.begin + word * 64;
    const GfnRange part = range.Clip(GfnRange{first, first + 64});
    const std::uint64_t width = part.Frames();
    const std::uint64_t ones =
        width == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << width) - 1;
    return ones << (part.begin - first);
  }
  // Calls `visit(word, mask)` for each word that `range` has a frame in.
  template <class Visit>
  void ForEachWord(GfnRange range, Visit&& visit) const {
    if (range.Empty()) return;
    const std::uint64_t last = (range.end - range_.begin - 1) / 64;
    for (std::uint64_t word = (range.begin - range_.begin) / 64; word <= last;
         ++word) {
      visit(word, MaskOf(word, range));
    }
  }

  void SetBits(Cell<std::uint64_t>* bits, GfnRange range) const;
  AgeResult Take(Cell<std::uint64_t>* bits, GfnRange range, AgeAction action,
                 const AgeOutput& output) const;

  Cell<std::uint64_t>* const accessed_;
  Cell<std::uint64_t>* const dirty_;
  const GfnRange range_;
};

// The answer of `ask()`, which asks page tables about the accesses to `range`,
// and of the history. Both write into `output`.
template <class Ask>
AgeResult AgeWithHistory(PageHistory& history, GfnRange range, AgeAction action,
                         const AgeOutput& output, Ask&& ask) {
  const AgeResult mapped = ask();
  return mapped | history.Accessed(range, action, output);
}

// ---------------------------------------------------------------------------

inline void PageHistory::SetBits(Cell<std::uint64_t>* bits,
                                 GfnRange range) const {
  ForEachWord(range, [&](std::uint64_t word, std::uint64_t mask) {
    for (;;) {
      const std::uint64_t seen = ReadOnce(bits[word], kRelaxed);
      // Also where the bits are there already: a load may return what a
      // question has taken meanwhile, a compare-and-swap may not.
      // [history.1] relaxed: ordered by the entry.
      if (TryCmpxchg(bits[word], seen, seen | mask, kRelaxed)) return;
    }
  });
}

inline AgeResult PageHistory::Take(Cell<std::uint64_t>* bits, GfnRange range,
                                   AgeAction action,
                                   const AgeOutput& output) const {
  AgeResult result;
  ForEachWord(range, [&](std::uint64_t word, std::uint64_t mask) {
    const std::uint64_t seen = ReadOnce(bits[word], kRelaxed);
    const std::uint64_t found = seen & mask;
    if (found == 0) return;
    // A lost race leaves them, to be reported again.
    // [history.2] relaxed: nothing is published by it.
    if (action == AgeAction::kTestAndClear) {
      (void)TryCmpxchg(bits[word], seen, seen & ~mask, kRelaxed);
    }
    result.young = true;
    for (std::uint64_t rest = found; rest != 0; rest &= rest - 1) {
      const Gfn gfn = range_.begin + word * 64 +
                      static_cast<std::uint64_t>(std::countr_zero(rest));
      output.SetYoung(GfnRange{gfn, gfn + 1});
    }
  });
  return result;
}

}  // namespace ptage

#endif  // PTAGE_PAGE_HISTORY_H_
