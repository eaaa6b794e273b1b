// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Ages the rmaps of consecutive frames: compares heads and tests entries in
// vectors where consecutive heads lead to consecutive entries of one table, and
// fetches ahead what the other heads lead to.
//
// Contract
//   AgeRange is, for each frame by itself, the discipline's Age: the same
//   answer, the same counts, the same waiting, the same rules for what may
//   happen meanwhile, in no particular order of frames. Called as Age is,
//   inside the same LocklessWalk.
//
//   A *run* is a stretch of heads that each hold one entry, whose entries
//   follow one another in one table. Heads are compared with the addresses that
//   a run would have, and the entries at these addresses are tested, 64 at a
//   time, by vector loads (once/vector.h). Two things are decided from what
//   these read:
//     * "nothing": the head is empty;
//     * "cold": the head is its entry's address, and the entry, read after it,
//       is present and not accessed.
//   Each other frame is asked again from the start, by the discipline's Age.
//
// Why that is sound
//   The loads are those of Age: a head, once, with acquire, then the entry that
//   it leads to, with acquire. Only those of other frames lie between. And Age
//   asks no more than this of an empty head, or of a cold entry: it needs no
//   identity. Either the entry is in the frame's rmap, present, from before the
//   call until after it: then it is the one that was read, and its value is as
//   good as any during the call. Or it came or went meanwhile: then whoever
//   took it down has its access, and has put it on record before the store that
//   was read here instead. (That is what acquire is for: see [vector.1] and
//   [vector.2].)
//   The addresses are sound to read, whatever the heads say by then: one head
//   of the run was read as Age reads it, so that the table of its entry is
//   visible and stays allocated for the walk, and no other table is touched.
//   Nothing that a vector saw is followed, changed, or called young: an entry
//   that looks young may have been given to another frame.
//
//   Progress: that of the discipline's Age.
//
// Sites (order · partner)
//   [range.1] acquire load of a head in ReadHead · [head.2], [lockless.2],
//                                                  [single.2]

#ifndef PTAGE_RMAP_RANGE_H_
#define PTAGE_RMAP_RANGE_H_

#include <bit>
#include <concepts>
#include <cstdint>

#include "ptage/once.h"
#include "ptage/once/vector.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// Asks the rmaps of `count` consecutive pages of one level, from `first` on,
// whose heads are heads[0 … count − 1]. Bits for every frame of a page go to
// `output`'s bitmaps, which span them; what was done is added to `counts`, and
// not to `output.counts`. `was_fast` of the answer is for an MMU to set.
template <RmapDiscipline D>
AgeResult AgeRange(D& rmaps, RmapHead* heads, RmapFrame first,
                   std::uint64_t count, AgeAction action, AgeMode mode,
                   const AgeOutput& output, AgeCounts& counts);

// What a discipline may offer to be asked faster.
//   kSinglesUnlocked    it answers for a head with one entry by what the head
//                       and the entry say, without a lock, in either mode
//   memory()            its table memory
//   PrefetchNear(word)  hints for a later Age: fetches what the head's word
//   PrefetchFar(word)   leads to; and what that leads to. Called as Age is,
//                       with a word that is not empty and was read with acquire
template <class D>
concept PrefetchableRmaps = RmapDiscipline<D> && requires(std::uintptr_t word) {
  { D::kSinglesUnlocked } -> std::convertible_to<bool>;
  D::PrefetchNear(word);
  D::PrefetchFar(word);
};
template <class D>
concept RunRmaps =
    PrefetchableRmaps<D> && VectorTestable<typename D::Format> &&
    D::kSinglesUnlocked && requires(D& rmaps) { rmaps.memory(); };

// ---------------------------------------------------------------------------

namespace internal {

// One call of AgeRange.
template <RmapDiscipline D>
class RangeAger {
 public:
  using F = typename D::Format;
  using Entry = SpteCell<F>;

  RangeAger(D& rmaps, RmapHead* heads, RmapFrame first, std::uint64_t count,
            AgeAction action, AgeMode mode, const AgeOutput& output,
            AgeCounts& counts)
      : rmaps_(rmaps),
        heads_(heads),
        first_(first),
        count_(count),
        action_(action),
        mode_(mode),
        output_(output),
        counts_(counts) {}
  RangeAger(const RangeAger&) = delete;
  RangeAger& operator=(const RangeAger&) = delete;

  AgeResult Age() {
    if constexpr (RunRmaps<D>) {
      for (std::uint64_t i = 0; i < count_;) i = AgeFrom(i);
    } else if constexpr (PrefetchableRmaps<D>) {
      for (std::uint64_t i = 0; i < count_; ++i) AgeLater(i);
    } else {
      for (std::uint64_t i = 0; i < count_; ++i) AgeNow(i);
    }
    if constexpr (PrefetchableRmaps<D>) AgeAllLater();
    return result_;
  }

 private:
  // Pages whose lists, or entries elsewhere, are being fetched.
  static constexpr std::uint64_t kWaiting = 16;
  // Lists that follow one another: how far ahead each is fetched, and twice as
  // far its first chunk.
  static constexpr std::uint64_t kAhead = 8;
  // Pages that are aged one by one before the next look for a run.
  static constexpr std::uint64_t kScattered = 64;
  // How far ahead their entries are fetched.
  static constexpr std::uint64_t kFetched = 32;
  static constexpr unsigned kPerTable = kEntriesPerTable<F>;
  // Fewer are not worth a vector.
  static constexpr unsigned kShortestRun = kPerTable < 8 ? 2 : 8;

  static_assert(sizeof(RmapHead) == sizeof(Cell<std::uintptr_t>));
  const Cell<std::uintptr_t>* WordsAt(std::uint64_t i) const {
    return &heads_[i].word;
  }
  std::uintptr_t ReadHead(std::uint64_t i) const {
    // Who follows the word finds what its writer built; who reads "empty" finds
    // the access on record.
    // [range.1] acquire, pairs with [head.2], [lockless.2] and [single.2].
    return ReadOnce(heads_[i].word, kAcquire);
  }

  void AgeNow(std::uint64_t i) {
    const std::uint64_t frames = FramesAt<F>(first_.level);
    const Gfn gfn = first_.gfn + i * frames;
    const AgeResult answer = rmaps_.Age(heads_[i], RmapFrame{gfn, first_.level},
                                        action_, mode_, counts_);
    // Most answers say nothing; to write them down would make one page wait for
    // the other.
    if (answer == AgeResult{}) return;
    result_ |= answer;
    if (answer.young) output_.SetYoung(GfnRange{gfn, gfn + frames});
    if (!answer.complete) output_.SetUnknown(GfnRange{gfn, gfn + frames});
  }

  // Ages page i when what its head leads to has been fetched.
  void AgeLater(std::uint64_t i) {
    const std::uintptr_t word = ReadHead(i);
    if (RmapWord(word).Empty()) return;
    D::PrefetchNear(word);
    const std::uint64_t turn = waited_++;
    if (turn >= kWaiting) AgeNow(waiting_[turn % kWaiting]);
    waiting_[turn % kWaiting] = i;
    if (turn >= kWaiting / 2) FetchFar(turn - kWaiting / 2);
  }
  void FetchFar(std::uint64_t turn) {
    const std::uintptr_t word = ReadHead(waiting_[turn % kWaiting]);
    if (!RmapWord(word).Empty()) D::PrefetchFar(word);
  }
  void AgeAllLater() {
    const std::uint64_t half = kWaiting / 2;
    for (std::uint64_t turn = waited_ < half ? 0 : waited_ - half;
         turn < waited_; ++turn) {
      FetchFar(turn);
    }
    for (std::uint64_t turn = waited_ < kWaiting ? 0 : waited_ - kWaiting;
         turn < waited_; ++turn) {
      AgeNow(waiting_[turn % kWaiting]);
    }
    waited_ = 0;
  }

  // A guess: do lists follow one another from page i on?
  bool LooksLikeLists(std::uint64_t i) const {
    if (count_ - i < kAhead) return false;
    bool all = true;
    for (unsigned k = 1; k < 4; ++k) all &= RmapWord(ReadHead(i + k)).Many();
    return all;
  }
  void FetchNearAt(std::uint64_t i) const {
    const std::uintptr_t word = ReadHead(i);
    if (RmapWord(word).Many()) D::PrefetchNear(word);
  }
  void FetchFarAt(std::uint64_t i) const {
    const std::uintptr_t word = ReadHead(i);
    if (RmapWord(word).Many()) D::PrefetchFar(word);
  }
  // Ages lists that follow one another, from page i on; returns the first page
  // that has none. What is fetched is found by its place, so that a list costs
  // little more than to ask it, which matters where all of it is in the cache.
  [[gnu::noinline]] std::uint64_t AgeLists(std::uint64_t i) {
    const std::uint64_t left = count_ - i;
    std::uint64_t far = i + (left < kAhead ? left : kAhead);
    std::uint64_t near = i + (left < 2 * kAhead ? left : 2 * kAhead);
    for (std::uint64_t k = i; k < near; ++k) FetchNearAt(k);
    for (std::uint64_t k = i; k < far; ++k) FetchFarAt(k);
    for (; near < count_; ++near, ++far, ++i) {
      if (!RmapWord(ReadHead(i)).Many()) return i;
      FetchNearAt(near);
      FetchFarAt(far);
      AgeNow(i);
    }
    for (; i < count_ && RmapWord(ReadHead(i)).Many(); ++i) {
      if (far < count_) FetchFarAt(far++);
      AgeNow(i);
    }
    return i;
  }

  // Ages pages from i on; returns the first that is left.
  std::uint64_t AgeFrom(std::uint64_t i) {
    const std::uintptr_t word = ReadHead(i);
    const RmapWord head(word);
    if (head.Empty()) return PassEmpty(i + 1);
    if (head.Many()) {
      if (LooksLikeLists(i)) return AgeLists(i);
      AgeLater(i);
      return i + 1;
    }
    Entry* const entry = head.Single<Entry>();
    const auto* const table = rmaps_.memory().TableOf(*entry);
    const auto index = static_cast<unsigned>(entry - table->entries);
    const std::uint64_t left = count_ - i;
    const auto run = static_cast<unsigned>(
        left < kPerTable - index ? left : kPerTable - index);
    if (run < kShortestRun || !LooksLikeRun(i, entry)) {
      return AgeScattered(i);
    }
    return AgeRun(i, entry, run);
  }

  std::uint64_t PassEmpty(std::uint64_t i) {
    while (i < count_ && ReadOnce(heads_[i].word, kRelaxed) == 0) {
      const std::uint64_t left = count_ - i;
      const auto lanes = static_cast<unsigned>(left < kBlock ? left : kBlock);
      const auto empty = static_cast<unsigned>(std::countr_one(
          WhereInRun(WordsAt(i), lanes, std::uintptr_t{0}, std::uintptr_t{0})));
      i += empty;
      if (empty < lanes) break;
    }
    return i;
  }

  // Where tables of consecutive frames are not neighbours, the processor's own
  // prefetcher starts anew with each. So a line of the table after the next is
  // fetched for each that is read. Null where frame `next` has the entry
  // `follows`, which comes next in memory anyway.
  const Entry* TableAhead(std::uint64_t next, const Entry* follows) const {
    if (count_ - next <= 2 * kPerTable) return nullptr;
    // The head that the next call reads below.
    Prefetch(&heads_[next + 2 * kPerTable]);
    if (ReadOnce(heads_[next].word, kRelaxed) == RmapWord::ForSingle(follows)) {
      return nullptr;
    }
    const RmapWord head(ReadOnce(heads_[next + kPerTable].word, kRelaxed));
    return head.Empty() || head.Many() ? nullptr : head.Single<Entry>();
  }

  // A guess: does one of the next heads continue what the i-th begins?
  // Precondition: there are kShortestRun of them.
  bool LooksLikeRun(std::uint64_t i, const Entry* entry) const {
    bool any = false;
    for (unsigned k = 1; k < kShortestRun && k <= 4; ++k) {
      any |= ReadOnce(heads_[i + k].word, kRelaxed) ==
             RmapWord::ForSingle(entry + k);
    }
    return any;
  }

  // Fetches the entry of a page with one; any address will do.
  void FetchAt(std::uint64_t i) const {
    Prefetch(RmapWord(ReadOnce(heads_[i].word, kRelaxed)).Single<Entry>());
  }

  // Ages some pages one by one. As few instructions as can be lie between two
  // heads: the processor then has the entries of many on their way at once.
  [[gnu::noinline]] std::uint64_t AgeScattered(std::uint64_t i) {
    const std::uint64_t left = count_ - i;
    const std::uint64_t end = i + (left < kScattered ? left : kScattered);
    // What the heads lead to is fetched so far ahead, as far as there are
    // heads.
    const std::uint64_t fetched =
        count_ < kFetched ? 0
                          : (end < count_ - kFetched ? end : count_ - kFetched);
    std::uint64_t examined = 0;
    for (; i < end; ++i) {
      if (i < fetched) FetchAt(i + kFetched);
      const RmapWord head(ReadHead(i));
      if (head.Empty()) continue;
      if (head.Many()) {
        AgeLater(i);
      } else if (WhereHasLacks(head.Single<Entry>(), 1, Word{F::kPresentBits},
                               Word{F::kAccessed}) != 0) {
        ++examined;
      } else {
        AgeNow(i);
      }
    }
    counts_.examined += examined;
    return i;
  }

  // Ages `run` pages, whose heads may lead to `entry` and those after it.
  std::uint64_t AgeRun(std::uint64_t i, Entry* entry, unsigned run) {
    const Entry* const ahead = TableAhead(i + run, entry + run);
    for (unsigned done = 0; done < run; done += kBlock) {
      const std::uint64_t at = i + done;
      if (ahead != nullptr) {
        for (unsigned k = 0; k < kBlock; k += 8) {
          PrefetchLater(ahead + done + k);
        }
      }
      if (run - done >= kBlock &&
          BlockInRun(WordsAt(at), RmapWord::ForSingle(entry + done),
                     std::uintptr_t{sizeof(Entry)}) &&
          BlockHasLacks(entry + done, Word{F::kPresentBits},
                        Word{F::kAccessed})) {
        counts_.examined += kBlock;
        continue;
      }
      const unsigned lanes = run - done < kBlock ? run - done : kBlock;
      if (!AgeBlock(at, entry + done, lanes)) return at + lanes;
    }
    return i + run;
  }

  // The same of up to kBlock pages. Returns whether it was worth it.
  [[gnu::noinline]] bool AgeBlock(std::uint64_t i, Entry* entry,
                                  unsigned lanes) {
    const std::uint64_t in_run =
        WhereInRun(WordsAt(i), lanes, RmapWord::ForSingle(entry),
                   std::uintptr_t{sizeof(Entry)});
    const std::uint64_t cold =
        in_run &
        WhereHasLacks(entry, lanes, Word{F::kPresentBits}, Word{F::kAccessed});
    counts_.examined += CountLanes(cold);
    std::uint64_t rest = FirstLanes(lanes) & ~cold;
    if (rest != 0) {
      rest &=
          ~WhereInRun(WordsAt(i), lanes, std::uintptr_t{0}, std::uintptr_t{0});
    }
    for (std::uint64_t young = rest & in_run; young != 0; young &= young - 1) {
      AgeNow(i + static_cast<unsigned>(std::countr_zero(young)));
    }
    for (std::uint64_t other = rest & ~in_run; other != 0; other &= other - 1) {
      AgeLater(i + static_cast<unsigned>(std::countr_zero(other)));
    }
    return in_run != 0;
  }

  using Word = typename F::Word;

  D& rmaps_;
  RmapHead* const heads_;
  const RmapFrame first_;
  const std::uint64_t count_;
  const AgeAction action_;
  const AgeMode mode_;
  const AgeOutput& output_;
  AgeCounts& counts_;
  AgeResult result_;
  // The pages that wait, oldest first, from turn waited_ − kWaiting on.
  std::uint64_t waited_ = 0;
  std::uint64_t waiting_[kWaiting];
};

}  // namespace internal

template <RmapDiscipline D>
AgeResult AgeRange(D& rmaps, RmapHead* heads, RmapFrame first,
                   std::uint64_t count, AgeAction action, AgeMode mode,
                   const AgeOutput& output, AgeCounts& counts) {
  return internal::RangeAger<D>(rmaps, heads, first, count, action, mode,
                                output, counts)
      .Age();
}

}  // namespace ptage

#endif  // PTAGE_RMAP_RANGE_H_
