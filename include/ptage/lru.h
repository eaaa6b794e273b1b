// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A generational LRU over the pages of a range, which learns from refaults what
// is worth keeping: the state that aging, look-around and eviction share.
//
// Contract
//   Any threads may call any function at any time, but for EndPass, which one
//   thread calls at a time. Page p is the p-th of the range that the owner has
//   in mind.
//
//   * State: one word a page (kBytesPerPage), and a constant. There are no
//     lists: an evictor looks at kSegment words at a time, ranks the pages
//     among them that are in memory, and takes of the oldest generation those
//     that rank lowest, a kBatchShare-th of all, before it looks again; of a
//     small memory more, or the looks would cost more than they are worth.
//   * Generations are kGenerations shares of a segment's pages, in the order of
//     their ranks (reuse_model.h): a page's place follows from its tier and
//     from when it was last found in use, so that aging a page is one
//     compare-and-swap of its word.
//   * Second chance: a page that its evictor finds young is released as such,
//     and counts as used.
//   * Refaults: the word of an evicted page stays as its shadow. When it comes
//     back, the ticks since its last use are recorded as those of a page that
//     stayed are.
//   * One evictor at a time has a page (page_word.h). Claim gives out each page
//     of a segment once, and goes on to the next segment.
//   * A tick passes when a pass of aging ends, and besides with each sixteenth
//     of the pages in memory that was evicted, so that ages tell pages apart
//     where nobody ages.
//
//   Progress: Add, Free, MarkReferenced, TakeReferenced, Promote and Release
//   are lock-free. Claim takes a lock that only claims take, now and then to
//   look at kSegment words; EndPass waits for nobody.

#ifndef PTAGE_LRU_H_
#define PTAGE_LRU_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "ptage/config.h"
#include "ptage/lru/bloom_filter.h"
#include "ptage/lru/page_word.h"
#include "ptage/lru/reuse_model.h"
#include "ptage/once.h"
#include "ptage/types.h"

namespace ptage {

// A page by its number in the range, from 0.
using LruPage = std::uint32_t;

template <unsigned kGenerations = 4>
class Lru {
  static_assert(kGenerations >= 2 && kGenerations <= 16);

 public:
  // What the LRU takes of memory, beside a constant.
  static constexpr std::size_t kBytesPerPage = sizeof(PageCell);
  // Pages that an evictor ranks at a time: 128 MiB of small ones.
  static constexpr std::uint32_t kSegment = 1 << 15;

  // Of a segment's pages in memory, one in so many is given out between two
  // looks.
  static constexpr std::uint32_t kBatchShare = 16;

  // All are absent, and have never been in memory. Allocates kBytesPerPage for
  // each.
  explicit Lru(std::uint32_t pages)
      : words_(pages, PageCell(0)),
        now_(1u),
        evicted_(0u),
        per_tick_(1u),
        ranked_(std::min(pages, kSegment)) {}
  Lru(const Lru&) = delete;
  Lru& operator=(const Lru&) = delete;

  // How many pages it is about.
  [[nodiscard]] std::uint32_t pages() const {
    return static_cast<std::uint32_t>(words_.size());
  }

  // Faults and frees. Precondition of all: page < pages().

  // The page came into memory. False: an evictor has not let go of it yet, or
  // it is there.
  bool Add(LruPage page);
  // It is no more, and its history with it. False: an evictor has it, who will
  // let it go; the page may be added again once it has.
  bool Free(LruPage page) { return FreePage(words_[page]); }
  // Somebody uses it who does not wait for an accessed bit to be set: who
  // claims it is told, and so is who has claimed it and asks. False: it is not
  // in memory.
  bool MarkReferenced(LruPage page) { return MarkPage(words_[page]); }
  // Takes such a mark. True if there was one.
  bool TakeReferenced(LruPage page) { return TakeMark(words_[page]); }

  // Aging and look-around.

  // The page was found young.
  void Promote(LruPage page);
  // Of the pages first + i: those for which bit i of `young` is set.
  void Promote(LruPage first, Bitmap young) {
    ForEach(young, [&](std::uint64_t i) { Promote(first + Index(i)); });
  }
  // Of those it is not known whether they were used: so they are not cold.
  void Keep(LruPage first, Bitmap unknown) {
    ForEach(unknown, [&](std::uint64_t i) {
      KeepPage(words_[first + Index(i)], Now());
    });
  }
  // All pages were asked. A tick passes, and the filters turn.
  void EndPass() {
    filters_.Turn();
    Tick();
  }
  // Tables of page tables that are worth scanning, by any number for a table.
  [[nodiscard]] BloomFilters<>& filters() { return filters_; }

  // Eviction.

  // Claims a page that is best done without. None: none is in memory, or all
  // that are have been marked or claimed.
  [[nodiscard]] std::optional<LruPage> Claim() ABSL_LOCKS_EXCLUDED(evictors_);
  // Claims this one. Whatever was claimed is to be released.
  [[nodiscard]] ClaimOutcome Claim(LruPage page);
  // Lets it go, wherever it is now. Precondition: the caller has claimed it.
  void Release(LruPage page, EvictionVerdict verdict);

  // For who looks on.

  // The page's word, as it is just now.
  [[nodiscard]] PageWord Read(LruPage page) const {
    return PageWord(ReadOnce(words_[page], kRelaxed));
  }
  // The tick, modulo 2^32.
  [[nodiscard]] std::uint32_t Now() const { return ReadOnce(now_, kRelaxed); }
  // What was learned.
  [[nodiscard]] const ReuseModel& model() const { return model_; }
  // The generation that a page of such a word was in, 0 the oldest, when an
  // evictor last ranked; the youngest, if it was used since.
  [[nodiscard]] unsigned GenerationOf(PageWord word) const
      ABSL_LOCKS_EXCLUDED(evictors_);
  // Words that evictors looked at.
  [[nodiscard]] std::uint64_t examined() const ABSL_LOCKS_EXCLUDED(evictors_) {
    absl::MutexLock lock(&evictors_);
    return examined_;
  }

 private:
  // Ticks between two looks at what was learned, and until a fifth of it is
  // forgotten.
  static constexpr std::uint32_t kRefreshTicks = 16;
  static constexpr std::uint32_t kForgetTicks = 64;
  static constexpr std::uint32_t kTicksPerTurnover = 16;
  static constexpr std::uint32_t kSmallBatch = 32;

  struct Candidate {
    LruPage page;
    std::uint32_t rank;  // at first, the page's word
  };

  [[nodiscard]] static LruPage Index(std::uint64_t i) {
    return static_cast<LruPage>(i);
  }
  template <class Visit>
  static void ForEach(Bitmap bits, Visit&& visit) {
    for (std::uint64_t from = 0; from < bits.size(); from += 64) {
      for (std::uint64_t rest = bits.Word(from / 64); rest != 0;
           rest &= rest - 1) {
        visit(from + static_cast<unsigned>(std::countr_zero(rest)));
      }
    }
  }
  void Tick() { FetchAdd(now_, 1u, kRelaxed); }
  void CountEviction();

  void Learn(std::uint32_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(evictors_);
  // Ranks the next segment that has pages; false if none has.
  bool Refill() ABSL_EXCLUSIVE_LOCKS_REQUIRED(evictors_);
  bool RankSegment(LruPage begin, LruPage end)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(evictors_);

  std::vector<PageCell> words_;
  Cell<std::uint32_t> now_;
  // Of evictions: how many there were since the last tick they made, and how
  // many make one.
  Cell<std::uint32_t> evicted_;
  Cell<std::uint32_t> per_tick_;
  BloomFilters<> filters_;
  ReuseModel model_;

  mutable absl::Mutex evictors_;
  // Of the last segment ranked: the pages in it, for which there is room, and
  // the lowest of them in order, of which `given_` were given out.
  std::vector<Candidate> ranked_ ABSL_GUARDED_BY(evictors_);
  std::vector<LruPage> lowest_ ABSL_GUARDED_BY(evictors_);
  std::size_t given_ ABSL_GUARDED_BY(evictors_) = 0;
  LruPage next_ ABSL_GUARDED_BY(evictors_) = 0;
  std::uint32_t ranked_at_ ABSL_GUARDED_BY(evictors_) = 0;
  // The least rank of each generation.
  std::uint32_t least_rank_[kGenerations] ABSL_GUARDED_BY(evictors_) = {};
  // Pages in memory that this turn through all of them has met so far.
  std::uint32_t met_ ABSL_GUARDED_BY(evictors_) = 0;
  std::uint32_t learned_ ABSL_GUARDED_BY(evictors_) = 0;
  std::uint32_t forgot_ ABSL_GUARDED_BY(evictors_) = 0;
  std::uint64_t examined_ ABSL_GUARDED_BY(evictors_) = 0;
};

// The marks of an LRU whose page 0 is the frame `first`, for evictions, which
// name pages by frames (PageMarks of lru/eviction.h). Any threads.
template <class LruType = Lru<>>
class LruMarks {
 public:
  // `lru` outlives the marks.
  LruMarks(LruType& lru, Gfn first) : lru_(lru), first_(first) {}

  // Precondition of both: the frames are pages of the LRU.
  void MarkReferenced(GfnRange frames) {
    for (Gfn gfn = frames.begin; gfn < frames.end; gfn = gfn + 1) {
      (void)lru_.MarkReferenced(PageOf(gfn));
    }
  }
  // Takes the marks of all. True if there was one.
  bool TakeReferenced(GfnRange frames) {
    bool any = false;
    for (Gfn gfn = frames.begin; gfn < frames.end; gfn = gfn + 1) {
      any |= lru_.TakeReferenced(PageOf(gfn));
    }
    return any;
  }

 private:
  [[nodiscard]] LruPage PageOf(Gfn gfn) const {
    return static_cast<LruPage>(gfn - first_);
  }

  LruType& lru_;
  const Gfn first_;
};

// ---------------------------------------------------------------------------

template <unsigned kGenerations>
bool Lru<kGenerations>::Add(LruPage page) {
  PageUse use;
  if (!AddPage(words_[page], Now(), use)) return false;
  model_.Record(use);
  return true;
}

template <unsigned kGenerations>
void Lru<kGenerations>::Promote(LruPage page) {
  PageUse use;
  if (UsePage(words_[page], Now(), use)) model_.Record(use);
}

template <unsigned kGenerations>
ClaimOutcome Lru<kGenerations>::Claim(LruPage page) {
  const ClaimOutcome outcome = ClaimPage(words_[page]);
  if (outcome == ClaimOutcome::kYoung) Promote(page);
  return outcome;
}

template <unsigned kGenerations>
void Lru<kGenerations>::Release(LruPage page, EvictionVerdict verdict) {
  // While it is still the caller's, so that it is of this page and life.
  if (verdict == EvictionVerdict::kYoung) {
    Promote(page);
    (void)TakeMark(words_[page]);
  }
  if (ReleasePage(words_[page], verdict) == PageState::kAbsent) CountEviction();
}

template <unsigned kGenerations>
void Lru<kGenerations>::CountEviction() {
  const std::uint32_t evicted = FetchAdd(evicted_, 1u, kRelaxed) + 1;
  const std::uint32_t per_tick = ReadOnce(per_tick_, kRelaxed);
  if (evicted < per_tick) return;
  // Of those who find it due, one.
  if (TryCmpxchg(evicted_, evicted, 0u, kRelaxed)) Tick();
}

template <unsigned kGenerations>
void Lru<kGenerations>::Learn(std::uint32_t now) {
  if (now - forgot_ >= kForgetTicks) {
    model_.Forget();
    forgot_ = now;
  }
  if (now - learned_ >= kRefreshTicks) {
    model_.Refresh();
    learned_ = now;
  }
}

template <unsigned kGenerations>
std::optional<LruPage> Lru<kGenerations>::Claim() {
  absl::MutexLock lock(&evictors_);
  // A turn through all segments and the rest of this one: who finds nothing in
  // that time may give up.
  const std::uint64_t segments =
      (std::uint64_t{pages()} + kSegment - 1) / kSegment;
  for (std::uint64_t turn = 0; turn <= 2 * segments; ++turn) {
    while (given_ < lowest_.size()) {
      const LruPage page = lowest_[given_++];
      if (Claim(page) == ClaimOutcome::kClaimed) return page;
    }
    if (!Refill()) return std::nullopt;
  }
  return std::nullopt;
}

template <unsigned kGenerations>
bool Lru<kGenerations>::Refill() {
  given_ = 0;
  Learn(Now());
  const LruPage all = pages();
  for (LruPage asked = 0; asked < all;) {
    const LruPage begin = next_;
    const LruPage end = std::min(all, begin + std::min(all - begin, kSegment));
    next_ = end == all ? 0 : end;
    asked += end - begin;
    const bool some = RankSegment(begin, end);
    if (end == all) {
      const std::uint32_t share = met_ / kTicksPerTurnover;
      WriteOnce(per_tick_, std::max(share, std::uint32_t{1}), kRelaxed);
      met_ = 0;
    }
    if (some) return true;
  }
  return false;
}

template <unsigned kGenerations>
bool Lru<kGenerations>::RankSegment(LruPage begin, LruPage end) {
  const std::uint32_t now = Now();
  ranked_at_ = now;
  // First those in memory, without a branch that is hard to foretell.
  std::uint32_t met = 0;
  for (LruPage page = begin; page < end; ++page) {
    const PageWord word = Read(page);
    ranked_[met] = Candidate{page, word.raw()};
    met += word.state() == PageState::kResident ? 1u : 0u;
  }
  std::uint32_t count[ReuseModel::kRanks] = {};
  unsigned lowest = ReuseModel::kRanks;
  unsigned highest = 0;
  for (std::uint32_t i = 0; i < met; ++i) {
    const PageWord word(ranked_[i].rank);
    const unsigned rank = model_.RankOf(word.tier(), word.AgeAt(now));
    ranked_[i].rank = rank;
    ++count[rank];
    lowest = std::min(lowest, rank);
    highest = std::max(highest, rank);
  }
  examined_ += end - begin;
  lowest_.clear();
  if (met == 0) return false;
  met_ += met;

  // By rank, where the pages of each begin; and in which ranks the generations
  // begin.
  std::uint32_t before = 0;
  unsigned generation = 0;
  for (unsigned rank = lowest; rank <= highest; ++rank) {
    while (generation < kGenerations &&
           before + count[rank] >
               std::uint64_t{generation} * met / kGenerations) {
      least_rank_[generation++] = rank;
    }
    before += std::exchange(count[rank], before);
  }
  const std::uint32_t few = std::min(met / 4, kSmallBatch);
  const std::uint32_t wanted =
      std::max({met / kBatchShare, few, std::uint32_t{1}});
  lowest_.resize(wanted);
  for (std::uint32_t i = 0; i < met; ++i) {
    const std::uint32_t place = count[ranked_[i].rank]++;
    if (place < wanted) lowest_[place] = ranked_[i].page;
  }
  return true;
}

template <unsigned kGenerations>
unsigned Lru<kGenerations>::GenerationOf(PageWord word) const {
  absl::MutexLock lock(&evictors_);
  const std::uint32_t since = Now() - ranked_at_;
  if (word.AgeAt(Now()) < since) return kGenerations - 1;
  const unsigned rank = model_.RankOf(word.tier(), word.AgeAt(ranked_at_));
  unsigned generation = kGenerations;
  while (--generation != 0 && least_rank_[generation] > rank) {
  }
  return generation;
}

}  // namespace ptage

#endif  // PTAGE_LRU_H_
