// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Estimates the working set of a large space from accessed bits of inner
// entries alone: which parts of it are in use, to the frames of a leaf table,
// at a cost that is set by what is in use and not by the size. For formats that
// have accessed bits in inner entries.
//
// Contract
//   Concurrently, anything may happen to the tree. Accessed bits of the inner
//   entries in the range have one user: one caller of Round, and neither Prune,
//   AgeHotTables nor ReclaimCold beside it.
//
//   A round goes down from the root where entries are young, clears them on its
//   way, and flushes once, at its end, so that what is used later is marked
//   anew. It yields regions of frames in use:
//   * What was used after a round is found by the next, unless that has no turn
//     for it, see below. What is used while a round runs may be found by it or
//     by the next, or by neither, where a CPU was on its way past entries that
//     were just cleared: an estimate, for sizes and for where to look closer.
//   * A table of level 2 is read at once if nothing was known of the frames
//     under it, and else in turn, so that a round reads a set number of them.
//     Where one that is in use has no turn, its regions stay as they were last
//     seen; if there are none, all of its frames count as used until its turn.
//     What is not used any more is dropped without being read.
//   * An entry tells of all the time since it was last cleared. So the first
//     look at a table reports what was ever used under it, and inner entries
//     are born accessed: too much, for one look.
//   * Regions that follow one another are merged. Where there are more than
//     there is room for, those with the smallest gaps are merged too, gaps
//     being doubled until there is room; the next round tries half of that.
//   * A frozen entry is unknown: what was known under it is kept.
//   * What a fault maps is found once a CPU has walked to it.
//   * Tables of others (foreign.h): what they say is wrong with an entry is in
//     their report, and nothing under it is in use. Whatever an entry points
//     to, its own accessed bit is cleared, in a table that the memory admits.
//
//   Progress: wait-free but for the flush. A round reads the root, the tables
//   under young entries down to those of level 3, and of those of level 2 as
//   many as the policy says.
//
// Sites
//   None of its own: an entry is aged as any other, by spte.h.

#ifndef PTAGE_PROFILE_H_
#define PTAGE_PROFILE_H_

#include <bit>
#include <cstdint>

#include "ptage/config.h"
#include "ptage/memory.h"
#include "ptage/once/vector.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// What a round costs.
struct ProfilePolicy {
  // Tables of level 2 that a round reads, at most. Each stands for the frames
  // of 512 leaf tables: a GiB, of pages of 4 KiB.
  std::uint64_t tables = 256;
  // What is done to large leaves, whose bit belongs to those who age pages too.
  // kTest: these are expected to clear them between two rounds.
  AgeAction leaves = AgeAction::kTestAndClear;
};

// Frames in use.
struct ProfileRegion {
  GfnRange range;                // aligned to leaf tables
  std::uint64_t rounds_ago = 0;  // rounds since it was seen so; 0: in the last

  bool operator==(const ProfileRegion&) const = default;
};

// What a round did, in tables of level 2.
struct ProfileRound {
  std::uint64_t in_use = 0;  // were found to be in use
  std::uint64_t read = 0;    // of these: had their turn

  bool operator==(const ProfileRound&) const = default;
};

// Not synchronized: one thread at a time, rounds and readers of regions.
template <Prunable F>
class Profile {
 public:
  // Frames of a leaf table: what regions are rounded to.
  static constexpr std::uint64_t kGranule = FramesAt<F>(Level{2});

  // Of `range`, which is aligned to leaf tables. `regions` holds twice
  // `capacity` of them, and outlives this. Precondition: capacity >= 2.
  Profile(ProfileRegion* regions, std::uint64_t capacity, GfnRange range,
          ProfilePolicy policy = ProfilePolicy())
      : now_(regions),
        before_(regions + capacity),
        capacity_(capacity),
        range_(range),
        policy_(policy) {
    PTAGE_ASSERT(capacity >= 2 && policy.tables != 0);
    PTAGE_ASSERT(range.begin.value % kGranule == 0 &&
                 range.end.value % kGranule == 0);
  }
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  // `flusher` is the tree's. Direct trees; or indirect ones, whose frames are
  // then those that the tree translates; or a ForeignTree, one for each round.
  template <class Tree, Flusher Fl>
  ProfileRound Round(const Tree& tree, const typename Tree::Walk& walk,
                     Fl& flusher);

  // What the last round found, in ascending order and apart.
  [[nodiscard]] const ProfileRegion* begin() const { return now_; }
  [[nodiscard]] const ProfileRegion* end() const { return now_ + count_; }
  [[nodiscard]] std::uint64_t size() const { return count_; }
  // Frames in all regions.
  [[nodiscard]] std::uint64_t Frames() const {
    std::uint64_t frames = 0;
    for (const ProfileRegion& region : *this) frames += region.range.Frames();
    return frames;
  }

 private:
  using Word = typename F::Word;

  static constexpr unsigned kPerTable = kEntriesPerTable<F>;
  static constexpr unsigned kLanes = kPerTable < kBlock ? kPerTable : kBlock;

  template <class Tree>
  void LookAll(const Tree& tree) {
    internal::VisitRoot(tree.tables(), range_,
                        [&](Table<F>& table, Gfn base, GfnRange part) {
                          Look(tree, table, Level{F::kLevels}, base);
                          return part.end;
                        });
  }
  template <class Tree>
  void Look(const Tree& tree, Table<F>& table, Level level, Gfn base);
  // A present entry that the vectors saw young, as it was read again.
  template <class Tree>
  void Use(const Tree& tree, SpteCell<F>& entry, Word seen, Level level,
           GfnRange covers);
  // Whether an inner entry, of level 3, is to be followed.
  bool HasTurn(GfnRange covers);

  // Whether there was a region in `covers`; called with ascending frames.
  bool WasKnown(GfnRange covers) {
    while (next_ < known_ && before_[next_].range.end <= covers.begin) ++next_;
    return next_ < known_ && before_[next_].range.begin < covers.end;
  }
  // Takes over what was known in `covers`.
  void Keep(GfnRange covers) {
    (void)WasKnown(covers);
    for (std::uint64_t i = next_;
         i < known_ && before_[i].range.begin < covers.end; ++i) {
      Add(covers.Clip(before_[i].range), before_[i].rounds_ago + 1);
    }
  }
  void Add(GfnRange range, std::uint64_t rounds_ago);
  // Merges regions until there is room.
  void MakeRoom();

  ProfileRegion* now_;
  ProfileRegion* before_;
  const std::uint64_t capacity_;
  const GfnRange range_;
  const ProfilePolicy policy_;
  std::uint64_t count_ = 0;
  std::uint64_t known_ = 0;  // in before_
  std::uint64_t next_ = 0;   // there, not yet behind
  // Frames between two regions that are merged nevertheless.
  std::uint64_t gap_ = 0;
  std::uint64_t rounds_ = 0;
  // One known table in so many has its turn.
  std::uint64_t stride_ = 1;
  std::uint64_t in_turn_ = 0;  // known tables, in this round
  bool cleared_ = false;
  ProfileRound round_;
};

// ---------------------------------------------------------------------------

template <Prunable F>
template <class Tree, Flusher Fl>
ProfileRound Profile<F>::Round(const Tree& tree,
                               const typename Tree::Walk& walk, Fl& flusher) {
  PTAGE_ASSERT(static_cast<bool>(walk));
  ProfileRegion* const before = before_;
  before_ = now_;
  now_ = before;
  known_ = count_;
  count_ = 0;
  next_ = 0;
  gap_ = gap_ / 2 < kGranule ? 0 : gap_ / 2;
  in_turn_ = 0;
  cleared_ = false;
  round_ = ProfileRound{};
  if (!range_.Empty()) {
    LookAll(tree);
  }
  // Were there no flush, who goes through cached entries would mark none, and
  // what is used most would look unused. Were it before entries are cleared:
  //   ager: flushes | CPU: walks, marks the entries, and keeps them
  //   ager: clears them
  //   CPU: goes through what it kept, and marks none.
  if (cleared_) flusher.Flush(range_);
  stride_ = (in_turn_ + policy_.tables - 1) / policy_.tables;
  if (stride_ == 0) stride_ = 1;
  ++rounds_;
  return round_;
}

template <Prunable F>
template <class Tree>
void Profile<F>::Look(const Tree& tree, Table<F>& table, Level level,
                      Gfn base) {
  const std::uint64_t frames = FramesAt<F>(level);
  typename Tree::Tables::Here here(tree.tables(), table, base, level);
  for (unsigned at = 0; at < kPerTable; at += kLanes) {
    if (!range_.Overlaps(
            GfnRange{base + at * frames, base + (at + kLanes) * frames})) {
      continue;
    }
    const WordsSeen seen =
        SeeWords(&table.entries[at], kLanes, Word{F::kPresentBits},
                 Word{F::kAccessed}, Word{F::kFrozen});
    for (std::uint64_t rest = seen.both | seen.equal; rest != 0;
         rest &= rest - 1) {
      const auto i = at + static_cast<unsigned>(std::countr_zero(rest));
      const GfnRange covers{base + i * frames, base + (i + 1) * frames};
      if (!range_.Overlaps(covers)) continue;
      SpteCell<F>& entry = table.entries[i];
      const Word word = here.Read(entry);
      if (IsYoung<F>(word)) {
        Use(tree, entry, word, level, covers);
      } else if (IsFrozen<F>(word)) {
        Keep(range_.Clip(covers));
      }
    }
  }
}

template <Prunable F>
template <class Tree>
void Profile<F>::Use(const Tree& tree, SpteCell<F>& entry, Word seen,
                     Level level, GfnRange covers) {
  const bool leaf = F::IsLeaf(seen, level);
  const AgeAction action = leaf ? policy_.leaves : AgeAction::kTestAndClear;
  // Whether the race is lost or not, the entry was young.
  (void)AgeSeen<F>(entry, seen, action, [] { return true; });
  cleared_ |= action == AgeAction::kTestAndClear;
  if (leaf || level == Level{2}) {
    Add(range_.Clip(covers), 0);
  } else if (level > Level{3} || HasTurn(covers)) {
    Table<F>* const child = tree.tables().Follow(seen, covers.begin, level);
    if (child != nullptr) Look(tree, *child, level.Below(), covers.begin);
  } else if (WasKnown(covers)) {
    Keep(range_.Clip(covers));
  } else {
    Add(range_.Clip(covers), 1);
  }
}

template <Prunable F>
bool Profile<F>::HasTurn(GfnRange covers) {
  ++round_.in_use;
  // Counted by number, not by place: tables in use may lie at regular
  // distances.
  const bool known = WasKnown(covers);
  const bool turn = !known || (in_turn_ + rounds_) % stride_ == 0;
  if (known) ++in_turn_;
  if (!turn || round_.read == policy_.tables) return false;
  ++round_.read;
  return true;
}

template <Prunable F>
void Profile<F>::Add(GfnRange range, std::uint64_t rounds_ago) {
  if (count_ != 0) {
    ProfileRegion& last = now_[count_ - 1];
    const std::uint64_t gap = range.begin - last.range.end;
    if (gap <= gap_ && (gap_ != 0 || last.rounds_ago == rounds_ago)) {
      last.range.end = range.end;
      if (rounds_ago > last.rounds_ago) last.rounds_ago = rounds_ago;
      return;
    }
  }
  if (count_ == capacity_) {
    MakeRoom();
    Add(range, rounds_ago);
    return;
  }
  now_[count_++] = ProfileRegion{range, rounds_ago};
}

template <Prunable F>
void Profile<F>::MakeRoom() {
  while (count_ == capacity_) {
    gap_ = gap_ == 0 ? kGranule : 2 * gap_;
    std::uint64_t kept = 0;
    for (std::uint64_t i = 1; i < count_; ++i) {
      ProfileRegion& last = now_[kept];
      if (now_[i].range.begin - last.range.end > gap_) {
        now_[++kept] = now_[i];
        continue;
      }
      last.range.end = now_[i].range.end;
      if (now_[i].rounds_ago > last.rounds_ago)
        last.rounds_ago = now_[i].rounds_ago;
    }
    count_ = kept + 1;
  }
}

}  // namespace ptage

#endif  // PTAGE_PROFILE_H_
