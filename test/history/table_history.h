// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Memory for tables that keeps every store, and holds each state that a store
// leaves behind against what the operation under way promises.
//
// At each state:
//   * Every sampled frame is translated as before the operation or as after it,
//     as a reference walk of the raw words tells (manual.h). Between the two it
//     may be *blocked*: an entry on its path is frozen, and an access faults
//     and tries again. Which frames an operation may block, and what becomes of
//     them, it says beforehand (Promise). A frame that has its new translation
//     does not get the old one back. Another page, other rights or another
//     memory type are never allowed.
//   * Each accessed and dirty bit that a processor has set is accounted for: it
//     is in the leaf that the reference walk finds; or in the hand of who has
//     frozen the entry, as the word that was there; or was handed to a sink; or
//     was cleared by the harvest under way, which owes it to its output until
//     it returns.
//   * What the root leads to are tables in use, each from one entry, with a
//     record that fits, without a word that nobody wrote.
//   * A present entry changes only by being frozen, but for accessed and dirty
//     bits. A frozen one gets another word only after a flush of all its frames
//     (but where the caller of Zap flushes), a leaf only after it was handed
//     on, and a table only when each entry below is frozen too. Those of a
//     table that has left stay so until it is freed.
//
// Only a store to the entry, or to one above it, can change what a frame is
// translated to. So after each store the frames under the entry are looked at;
// after some, and at the end of the operation, all are, and memory is compared
// with what the stores have made of it: none went past.
//
// A processor may be at work meanwhile: it walks the raw words as hardware does
// and marks entries in the moments before stores, also at the end of walks that
// have begun earlier, until a flush ends those.

#ifndef PTAGE_TEST_HISTORY_TABLE_HISTORY_H_
#define PTAGE_TEST_HISTORY_TABLE_HISTORY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/history/manual.h"
#include "test/history/stores.h"

namespace ptage::test {

// What a frame is translated to.
struct Translation {
  std::uint64_t frame = 0;
  unsigned grants = 0;  // by every level
  std::uint64_t attributes = 0;

  bool operator==(const Translation&) const = default;
};

// What the reference walk finds. Behind a frozen entry it goes on with the word
// that its owner took out.
struct Found {
  bool blocked = false;
  bool mapped = false;  // `word` is a leaf
  Translation to;
  std::uint64_t word = 0;    // the deepest entry
  std::uint64_t parent = 0;  // the entry above
  int level = 0;
  std::uint64_t begin = 0;  // the first frame that the deepest entry covers

  // Whether an access ends in the same way.
  [[nodiscard]] bool SameAs(const Found& other) const {
    if (blocked || other.blocked) return blocked == other.blocked;
    return mapped == other.mapped && (!mapped || to == other.to);
  }
};

inline Found Absent() { return Found{}; }

// What an operation may do. By default, nothing.
struct Promise {
  std::string what;
  // Whether the frame may be blocked meanwhile, and what becomes of it.
  std::function<bool(std::uint64_t gfn, const Found& before)> may_block =
      [](std::uint64_t, const Found&) { return false; };
  std::function<Found(std::uint64_t gfn, const Found& before)> becomes =
      [](std::uint64_t, const Found& before) { return before; };
  // It fills empty entries.
  bool installs = false;
  // The bit that it may clear in leaves.
  std::uint64_t clears = 0;
  // It changes the accessed bits of inner entries.
  bool marks_parents = false;
  // The caller flushes.
  bool unflushed = false;
  // What it hands on was not accessed.
  bool takes_cold_only = false;
  // It ends the hold (see Hold) of an entry.
  bool releases = false;
};

// How each frame is translated when the operation has returned.
enum class Outcome { kAsBefore, kAsPromised, kEither };

template <SpteFormat F>
class TableHistory final : public StoreObserver {
 public:
  using Word = typename F::Word;
  using Numbers = Manual<F>;

  TableHistory(std::size_t tables, std::mt19937_64& random)
      : random_(random),
        samples_(Numbers::Samples()),
        tables_(tables),
        raw_(tables_.data()->entries[0].Raw()),
        infos_(tables),
        arena_(tables_.data(), infos_.data(), nullptr, tables, kFirstFrame),
        as_stored_(tables * kEntries),
        of_tables_(tables),
        accessed_(samples_.size()),
        dirty_(samples_.size()),
        owed_(samples_.size()),
        changed_(samples_.size()) {}
  ~TableHistory() override { Unwatch(); }
  TableHistory(const TableHistory&) = delete;
  TableHistory& operator=(const TableHistory&) = delete;

  // --- Memory, as memory.h says.

  Table<F>* Allocate(TableKind kind);
  void Free(Table<F>* table);
  TableInfo<F>& InfoOf(const Table<F>* table) { return arena_.InfoOf(table); }
  Table<F>* TableOf(const SpteCell<F>& entry) const {
    return arena_.TableOf(entry);
  }
  Pfn FrameOf(const Table<F>* table) const { return arena_.FrameOf(table); }
  Table<F>* TableAt(Pfn pfn) const { return arena_.TableAt(pfn); }

  // --- A flusher.

  void Flush(GfnRange range);

  // --- The tree and its operations.

  // From now on stores are judged.
  void Watch(const Table<F>* root);
  void Unwatch();
  [[nodiscard]] bool failed() const { return failed_; }

  void Begin(Promise promise, bool with_processor);
  void End(Outcome outcome);

  // The operation has handed a leaf on, with its bits; what it maps is gone.
  void HandedOn(Gfn gfn, Level level, Word word, const SpteCell<F>& entry);
  // A harvest has said young of these.
  void Reported(GfnRange range);
  // The operation itself has made an access of `gfn`.
  void HasAccessed(Gfn gfn) {
    ForSamples(GfnRange{gfn, gfn + 1},
               [&](std::size_t i) { accessed_[i] = true; });
  }
  // The entry is frozen by a thread that the operations to come must leave it
  // to; and no more.
  void Hold(const SpteCell<F>& entry) { held_ = SlotOf(&entry); }
  void EndHold() { held_.reset(); }
  // Whether each accessed small page must lie under an accessed entry.
  void RequireYoungParents() { young_parents_ = true; }

  // A processor's access, if the frame is a sample.
  void Touch(Gfn gfn, bool write) {
    ForSamples(GfnRange{gfn, gfn + 1},
               [&](std::size_t i) { TouchSample(i, write); });
  }

  // One that has got as far as the last table, and will go on some time.
  void BeginTouch(Gfn gfn, bool write) {
    ForSamples(GfnRange{gfn, gfn + 1},
               [&](std::size_t i) { BeginWalk(i, write); });
  }

  // --- Questions.

  [[nodiscard]] const std::vector<std::uint64_t>& samples() const {
    return samples_;
  }
  // Before the operation that begins next.
  [[nodiscard]] const Found& Before(std::uint64_t gfn) const {
    return before_[IndexOf(Gfn{gfn})];
  }
  [[nodiscard]] static std::uint64_t FramesIn(int level) {
    return std::uint64_t{1} << Numbers::kIndexBits * (level - 1);
  }
  // The entry at `level` on the path to `gfn`, if there is one.
  [[nodiscard]] SpteCell<F>* EntryAt(std::uint64_t gfn, int level);
  // Of all operations: stores to tables; bits that harvests cleared; marks that
  // a processor made during operations.
  [[nodiscard]] std::uint64_t stores() const { return all_stores_; }
  [[nodiscard]] std::uint64_t cleared() const { return cleared_; }
  [[nodiscard]] std::uint64_t marks() const { return marks_; }

  // --- Of StoreObserver.

  void Storing(const volatile void* word) override;
  void Stored(const volatile void* word, std::uint64_t before,
              std::uint64_t after) override;

 private:
  // An entry's place in the block: table * kEntries + index.
  using Slot = std::size_t;

  static constexpr unsigned kEntries = 1u << Numbers::kIndexBits;
  static constexpr Pfn kFirstFrame{0x1000};
  static constexpr std::uint64_t kBits = Numbers::kAccessed | Numbers::kDirty;
  // All frames are looked at after each, or one of so many stores.
  static constexpr std::uint64_t kLookAtAll = kEntries == 4 ? 1 : 256;
  // Stores of the history that a failure shows.
  static constexpr std::size_t kShown = 8;

  struct Store {
    Slot slot;
    std::uint64_t before;
    std::uint64_t after;
    bool by_processor;
  };
  // A table, as the root leads to it through entries or what their owners took
  // out of them.
  struct OfTable {
    bool in_use = false;
    bool left = false;    // the tree, and is not free yet
    bool placed = false;  // in the tree
    std::uint64_t base = 0;
    int level = 0;
    std::optional<Slot> above = std::nullopt;
  };
  // An entry that somebody has frozen.
  struct InHand {
    std::uint64_t word;  // what was there
    bool flushed = false;
    bool handed_on = false;
  };
  // A processor's walk that has read the entry of level 2, and marked it.
  struct OpenWalk {
    std::size_t sample;
    std::size_t table;
    bool write;
  };

  [[nodiscard]] std::size_t IndexOf(Gfn gfn) const {
    return static_cast<std::size_t>(
        std::lower_bound(samples_.begin(), samples_.end(), gfn.value) -
        samples_.begin());
  }
  [[nodiscard]] std::optional<Slot> SlotOf(const volatile void* word) const;
  [[nodiscard]] Word Raw(Slot slot) const { return raw_[slot]; }
  void SetRaw(Slot slot, Word word) {
    raw_[slot] = word;
    as_stored_[slot] = word;
  }
  [[nodiscard]] static unsigned EntryIndex(std::uint64_t gfn, int level) {
    return static_cast<unsigned>(gfn / FramesIn(level) % kEntries);
  }
  // The table that an inner word points to.
  [[nodiscard]] std::optional<std::size_t> Child(std::uint64_t word) const {
    const std::uint64_t table =
        Numbers::FrameOf(static_cast<Word>(word)) - kFirstFrame.value;
    if (table >= tables_.size()) return std::nullopt;
    return static_cast<std::size_t>(table);
  }
  [[nodiscard]] static bool IsPresent(std::uint64_t word) {
    return Numbers::IsPresent(static_cast<Word>(word));
  }
  [[nodiscard]] static bool IsLeaf(std::uint64_t word, int level) {
    return Numbers::IsLeaf(static_cast<Word>(word), level);
  }
  [[nodiscard]] GfnRange FramesOf(Slot slot) const {
    const OfTable& table = of_tables_[slot / kEntries];
    const std::uint64_t frames = FramesIn(table.level);
    const Gfn begin{table.base + slot % kEntries * frames};
    return GfnRange{begin, begin + frames};
  }
  template <class Visit>
  void ForSamples(GfnRange range, Visit visit) {
    for (std::size_t i = IndexOf(range.begin);
         i < samples_.size() && samples_[i] < range.end.value; ++i) {
      visit(i);
    }
  }

  void Fail(const std::string& what);
  void FailAt(std::size_t sample, const std::string& what) {
    Fail("frame " + std::to_string(samples_[sample]) + " " + what);
  }
  [[nodiscard]] Found WalkTo(std::uint64_t gfn) const;
  // Finds out which tables the root leads to.
  void FindPlaces();
  void Place(std::size_t table, std::uint64_t base, int level,
             std::optional<Slot> above);
  Found LookAt(std::size_t sample);
  void LookAtAll();
  // Whether the library may store this.
  void Judge(Slot slot, std::uint64_t before, std::uint64_t after);
  void JudgeNextWord(Slot slot, std::uint64_t after);
  void JudgeClearedBits(Slot slot, std::uint64_t before, std::uint64_t after);
  // A table leaves the tree, with those below.
  void JudgeLeaving(std::size_t table, int level, bool handed_on);
  [[nodiscard]] bool IsFlushed(Slot slot) const;

  // A processor's actions.
  void Act(Slot near);
  void TouchSample(std::size_t sample, bool write);
  void BeginWalk(std::size_t sample, bool write);
  void EndWalk(const OpenWalk& walk);
  // Marks the entries above, down to the table of level `level`.
  std::optional<std::size_t> WalkDown(std::uint64_t gfn, int level);
  bool MarkLeaf(Slot slot, int level, std::size_t sample, bool write);
  void Mark(Slot slot, std::uint64_t bits);

  std::mt19937_64& random_;
  const std::vector<std::uint64_t> samples_;
  std::vector<Table<F>> tables_;
  // The same, as a processor sees it.
  volatile Word* const raw_;
  std::vector<TableInfo<F>> infos_;
  TableArena<F> arena_;

  bool failed_ = false;
  std::optional<std::size_t> root_;
  // The history of the operation under way, and what all stores have made of
  // the block.
  std::vector<Store> history_;
  std::vector<std::uint64_t> as_stored_;
  std::vector<OfTable> of_tables_;
  std::map<Slot, InHand> in_hand_;
  std::optional<Slot> held_;

  // Of each sample. A processor's access, or write, that is on no record yet; a
  // bit that was cleared and not yet reported; has its new translation.
  std::vector<char> accessed_;
  std::vector<char> dirty_;
  std::vector<char> owed_;
  std::vector<char> changed_;
  std::vector<Found> before_;

  bool judging_ = false;
  bool with_processor_ = false;
  bool young_parents_ = false;
  Promise promise_;
  std::vector<OpenWalk> walks_;

  std::uint64_t all_stores_ = 0;
  std::uint64_t cleared_ = 0;
  std::uint64_t marks_ = 0;
};

// ---------------------------------------------------------------------------

template <SpteFormat F>
Table<F>* TableHistory<F>::Allocate(TableKind kind) {
  Table<F>* const table = arena_.Allocate(kind);
  if (table == nullptr) return nullptr;
  const auto index = static_cast<std::size_t>(table - tables_.data());
  of_tables_[index] = OfTable{.in_use = true};
  for (Slot i = 0; i < kEntries; ++i) {
    SetRaw(index * kEntries + i, Numbers::kGarbage);
  }
  return table;
}

template <SpteFormat F>
void TableHistory<F>::Free(Table<F>* table) {
  const auto index = static_cast<std::size_t>(table - tables_.data());
  if (root_) {
    if (of_tables_[index].placed) Fail("a table of the tree is freed");
    for (Slot i = 0; i < kEntries; ++i) {
      SetRaw(index * kEntries + i, Numbers::kGarbage);
    }
  }
  of_tables_[index] = OfTable{};
  arena_.Free(table);
}

template <SpteFormat F>
void TableHistory<F>::Watch(const Table<F>* root) {
  root_ = static_cast<std::size_t>(root - tables_.data());
  for (Slot slot = 0; slot < as_stored_.size(); ++slot) {
    as_stored_[slot] = Raw(slot);
  }
  store_observer = this;
  FindPlaces();
  before_.clear();
  for (const std::uint64_t gfn : samples_) before_.push_back(WalkTo(gfn));
}

template <SpteFormat F>
void TableHistory<F>::Unwatch() {
  if (store_observer == this) store_observer = nullptr;
  root_.reset();
}

template <SpteFormat F>
void TableHistory<F>::Begin(Promise promise, bool with_processor) {
  promise_ = std::move(promise);
  with_processor_ = with_processor;
  judging_ = true;
  history_.clear();
  std::fill(changed_.begin(), changed_.end(), false);
  std::fill(owed_.begin(), owed_.end(), false);
}

template <SpteFormat F>
void TableHistory<F>::End(Outcome outcome) {
  while (!walks_.empty() && random_() % 4 == 0) {
    EndWalk(walks_.back());
    walks_.pop_back();
  }
  for (std::size_t t = 0; t < of_tables_.size() && !failed_; ++t) {
    if (!of_tables_[t].in_use) continue;
    for (Slot slot = t * kEntries; slot < (t + 1) * kEntries; ++slot) {
      if (Raw(slot) != as_stored_[slot]) Fail("a store went past the history");
    }
  }
  for (const auto& [slot, in_hand] : in_hand_) {
    if (slot != held_) Fail("an entry is left frozen");
  }
  for (std::size_t i = 0; i < samples_.size() && !failed_; ++i) {
    const Found now = LookAt(i);
    if (owed_[i]) FailAt(i, "had a bit that was cleared and not reported");
    if ((outcome == Outcome::kAsBefore && !now.SameAs(before_[i])) ||
        (outcome == Outcome::kAsPromised &&
         !now.SameAs(promise_.becomes(samples_[i], before_[i])))) {
      FailAt(i, "is not translated as the outcome says");
    }
    if (young_parents_ && Numbers::kMarksInner && accessed_[i] &&
        now.level == 1 && (now.parent & Numbers::kAccessed) == 0) {
      FailAt(i, "was accessed, and the entry above it is old");
    }
    before_[i] = now;
  }
  judging_ = false;
}

template <SpteFormat F>
void TableHistory<F>::Fail(const std::string& what) {
  if (failed_) return;
  failed_ = true;
  std::ostringstream text;
  text << promise_.what << ", after " << history_.size() << " stores: " << what
       << "\nThe last (table.index: before -> after):";
  const std::size_t from =
      history_.size() > kShown ? history_.size() - kShown : 0;
  for (std::size_t i = from; i < history_.size(); ++i) {
    const Store& store = history_[i];
    text << "\n  " << std::dec << store.slot / kEntries << "."
         << store.slot % kEntries << ": " << std::hex << store.before << " -> "
         << store.after << (store.by_processor ? " (processor)" : "");
  }
  ADD_FAILURE() << text.str();
}

template <SpteFormat F>
std::optional<std::size_t> TableHistory<F>::SlotOf(
    const volatile void* word) const {
  const auto address = reinterpret_cast<std::uintptr_t>(word);
  const auto begin = reinterpret_cast<std::uintptr_t>(tables_.data());
  if (address < begin || address >= begin + tables_.size() * sizeof(Table<F>)) {
    return std::nullopt;
  }
  return (address - begin) / sizeof(Word);
}

template <SpteFormat F>
Found TableHistory<F>::WalkTo(std::uint64_t gfn) const {
  Found found;
  unsigned grants = kMayAll;
  std::size_t table = *root_;
  for (int level = Numbers::kLevels;; --level) {
    const Slot slot = table * kEntries + EntryIndex(gfn, level);
    std::uint64_t word = Raw(slot);
    if (word == Numbers::kFrozen) {
      found.blocked = true;
      const auto taken = in_hand_.find(slot);
      if (taken != in_hand_.end()) word = taken->second.word;
    }
    found.parent = found.word;
    found.word = word;
    found.level = level;
    found.begin = gfn / FramesIn(level) * FramesIn(level);
    if (!IsPresent(word)) return found;
    grants &= Numbers::Grants(static_cast<Word>(word), level);
    if (IsLeaf(word, level)) {
      found.mapped = true;
      found.to = Translation{
          Numbers::FrameOf(static_cast<Word>(word)) + (gfn - found.begin),
          grants, Numbers::AttributesOf(static_cast<Word>(word), level)};
      return found;
    }
    const std::optional<std::size_t> child = Child(word);
    // FindPlaces has complained.
    if (!child) return found;
    table = *child;
  }
}

template <SpteFormat F>
void TableHistory<F>::FindPlaces() {
  std::vector<OfTable> before = of_tables_;
  for (OfTable& table : of_tables_) table.placed = false;
  Place(*root_, 0, Numbers::kLevels, std::nullopt);
  for (std::size_t t = 0; t < of_tables_.size() && !failed_; ++t) {
    const OfTable& table = of_tables_[t];
    if (!table.placed || before[t].placed) continue;
    // Reachable for the first time: as its builder has left it.
    const TableInfo<F>& info = infos_[t];
    const SpteCell<F>* const above =
        table.above
            ? &tables_[*table.above / kEntries].entries[*table.above % kEntries]
            : nullptr;
    if (info.Base() != Gfn{table.base} || info.AtLevel().value != table.level ||
        info.parent.Get() != above) {
      Fail("the record of a new table does not fit its place");
    }
    for (Slot i = 0; i < kEntries; ++i) {
      const Word word = Raw(t * kEntries + i);
      if (word != Numbers::kEmpty &&
          (!IsPresent(word) || !Numbers::IsWellFormed(word, table.level))) {
        Fail("entry " + std::to_string(i) + " of a new table is not written");
      }
    }
  }
}

template <SpteFormat F>
void TableHistory<F>::Place(std::size_t table, std::uint64_t base, int level,
                            std::optional<Slot> above) {
  OfTable& of = of_tables_[table];
  if (!of.in_use) return Fail("the root leads to a table that is free");
  if (of.left) return Fail("the root leads to a table that has left the tree");
  if (of.placed) return Fail("two entries lead to one table");
  of.placed = true;
  of.base = base;
  of.level = level;
  of.above = above;
  if (level == 1) return;
  for (unsigned i = 0; i < kEntries && !failed_; ++i) {
    const Slot slot = table * kEntries + i;
    std::uint64_t word = Raw(slot);
    if (word == Numbers::kFrozen) {
      const auto taken = in_hand_.find(slot);
      if (taken != in_hand_.end()) word = taken->second.word;
    }
    if (!IsPresent(word)) continue;
    if (!Numbers::IsWellFormed(static_cast<Word>(word), level)) {
      return Fail("an entry is malformed");
    }
    if (IsLeaf(word, level)) continue;
    const std::optional<std::size_t> child = Child(word);
    if (!child) return Fail("an entry leads to no table");
    Place(*child, base + i * FramesIn(level), level - 1, slot);
  }
}

template <SpteFormat F>
Found TableHistory<F>::LookAt(std::size_t sample) {
  const std::uint64_t gfn = samples_[sample];
  const Found now = WalkTo(gfn);
  const Found& before = before_[sample];
  if (now.SameAs(before)) {
    if (changed_[sample]) FailAt(sample, "is translated as before again");
  } else if (now.blocked) {
    if (!promise_.may_block(gfn, before)) FailAt(sample, "is blocked");
  } else {
    if (!now.SameAs(promise_.becomes(gfn, before))) {
      FailAt(sample, "is translated neither as before nor as after");
    }
    changed_[sample] = true;
  }
  const std::uint64_t bits = now.mapped ? now.word : 0;
  if (accessed_[sample] && (bits & Numbers::kAccessed) == 0) {
    FailAt(sample, "was accessed, and that is on no record");
  }
  if (dirty_[sample] && (bits & Numbers::kDirty) == 0) {
    FailAt(sample, "was written to, and that is on no record");
  }
  return now;
}

template <SpteFormat F>
void TableHistory<F>::LookAtAll() {
  for (std::size_t i = 0; i < samples_.size() && !failed_; ++i) LookAt(i);
}

template <SpteFormat F>
void TableHistory<F>::Stored(const volatile void* word, std::uint64_t before,
                             std::uint64_t after) {
  const std::optional<Slot> slot = SlotOf(word);
  if (!slot) return;
  ++all_stores_;
  history_.push_back(Store{*slot, before, after, /*by_processor=*/false});
  const bool seen_all = as_stored_[*slot] == before;
  as_stored_[*slot] = after;
  if (failed_ || !root_) return;
  if (!seen_all) Fail("a store before this one went past the history");
  const OfTable& table = of_tables_[*slot / kEntries];
  if (!table.in_use) return Fail("a store to a table that is free");
  if (table.left) return Fail("a store to a table that has left the tree");
  // Nobody else has it yet.
  if (!table.placed) return;
  if (!judging_) return Fail("a store outside of operations");
  const int level = table.level;
  Judge(*slot, before, after);
  if (failed_) return;
  if (level > 1 && ((before ^ after) & ~kBits) != 0) FindPlaces();
  ForSamples(FramesOf(*slot), [&](std::size_t i) { LookAt(i); });
  if (history_.size() % kLookAtAll == 0) LookAtAll();
}

template <SpteFormat F>
void TableHistory<F>::Judge(Slot slot, std::uint64_t before,
                            std::uint64_t after) {
  if (before == after) return;
  if (after == Numbers::kFrozen) {
    in_hand_[slot] = InHand{before};
  } else if (before == Numbers::kFrozen) {
    JudgeNextWord(slot, after);
  } else if (IsPresent(before)) {
    JudgeClearedBits(slot, before, after);
  } else if (!promise_.installs) {
    Fail("an empty entry is filled");
  }
}

template <SpteFormat F>
void TableHistory<F>::JudgeNextWord(Slot slot, std::uint64_t after) {
  const auto found = in_hand_.find(slot);
  if (found == in_hand_.end()) return Fail("a frozen entry has no owner");
  if (slot == held_ && !promise_.releases) {
    return Fail("an entry that another thread owns is changed");
  }
  const InHand taken = found->second;
  in_hand_.erase(found);
  const int level = of_tables_[slot / kEntries].level;
  // Given back; which bits must be in it, LookAt knows.
  if (((taken.word ^ after) & ~kBits) == 0) return;
  if (!IsPresent(taken.word)) return;
  if (!taken.flushed && !promise_.unflushed) {
    return Fail("an entry has its next word before processors were flushed");
  }
  const bool emptied = after == Numbers::kEmpty;
  if (IsLeaf(taken.word, level)) {
    if (emptied && !taken.handed_on) {
      Fail("an entry is emptied before the leaf is handed on");
    }
    return;
  }
  const std::optional<std::size_t> child = Child(taken.word);
  if (child) JudgeLeaving(*child, level - 1, emptied);
}

template <SpteFormat F>
void TableHistory<F>::JudgeLeaving(std::size_t table, int level,
                                   bool handed_on) {
  of_tables_[table].left = true;
  for (unsigned i = 0; i < kEntries && !failed_; ++i) {
    const Slot slot = table * kEntries + i;
    const auto found = in_hand_.find(slot);
    if (Raw(slot) != Numbers::kFrozen || found == in_hand_.end()) {
      return Fail("a table leaves the tree, and entry " + std::to_string(i) +
                  " of it is open");
    }
    const InHand taken = found->second;
    in_hand_.erase(found);
    if (!IsPresent(taken.word)) continue;
    if (!IsLeaf(taken.word, level)) {
      const std::optional<std::size_t> child = Child(taken.word);
      if (child) JudgeLeaving(*child, level - 1, handed_on);
    } else if (handed_on && !taken.handed_on) {
      Fail("a table leaves the tree, and leaf " + std::to_string(i) +
           " of it was not handed on");
    }
  }
}

template <SpteFormat F>
void TableHistory<F>::JudgeClearedBits(Slot slot, std::uint64_t before,
                                       std::uint64_t after) {
  const std::uint64_t changed = before ^ after;
  if ((changed & ~kBits) != 0) {
    return Fail("a present entry is changed without being frozen");
  }
  if (!IsLeaf(before, of_tables_[slot / kEntries].level)) {
    if (!promise_.marks_parents || changed != Numbers::kAccessed) {
      Fail("a bit of an inner entry is changed");
    }
    return;
  }
  if ((changed & after) != 0 || (changed & ~promise_.clears) != 0) {
    return Fail("a bit of a leaf is changed by who may not");
  }
  ++cleared_;
  ForSamples(FramesOf(slot), [&](std::size_t i) {
    owed_[i] = true;
    if (changed == Numbers::kAccessed) accessed_[i] = false;
    if (changed == Numbers::kDirty) dirty_[i] = false;
  });
}

template <SpteFormat F>
void TableHistory<F>::Flush(GfnRange range) {
  for (auto& [slot, taken] : in_hand_) {
    if (range.Contains(FramesOf(slot))) taken.flushed = true;
  }
  // When it returns, no walk is left that has begun before.
  std::vector<OpenWalk> others;
  for (const OpenWalk& walk : walks_) {
    if (!range.Contains(Gfn{samples_[walk.sample]})) {
      others.push_back(walk);
    } else if (random_() % 4 != 0) {
      EndWalk(walk);
    }
  }
  walks_ = std::move(others);
}

template <SpteFormat F>
bool TableHistory<F>::IsFlushed(Slot slot) const {
  for (std::optional<Slot> at = slot; at;
       at = of_tables_[*at / kEntries].above) {
    const auto taken = in_hand_.find(*at);
    if (taken != in_hand_.end() && taken->second.flushed) return true;
  }
  return false;
}

template <SpteFormat F>
void TableHistory<F>::HandedOn(Gfn gfn, Level level, Word word,
                               const SpteCell<F>& entry) {
  if (failed_) return;
  const std::optional<Slot> slot = SlotOf(&entry);
  const auto taken = slot ? in_hand_.find(*slot) : in_hand_.end();
  if (taken == in_hand_.end() || Raw(*slot) != Numbers::kFrozen) {
    return Fail("a leaf is handed on whose entry is not frozen");
  }
  if (taken->second.handed_on) return Fail("a leaf is handed on twice");
  if (taken->second.word != word) {
    return Fail("a leaf is handed on as another word than it was");
  }
  const GfnRange frames = FramesOf(*slot);
  if (frames != GfnRange{gfn, gfn + FramesIn(level.value)}) {
    return Fail("a leaf is handed on with other frames than it covers");
  }
  if (!promise_.unflushed && !IsFlushed(*slot)) {
    return Fail("a leaf is handed on that processors may still use");
  }
  if (promise_.takes_cold_only && (word & Numbers::kAccessed) != 0) {
    return Fail("a leaf is taken that is in use");
  }
  taken->second.handed_on = true;
  ForSamples(frames, [&](std::size_t i) {
    if ((word & Numbers::kAccessed) != 0) accessed_[i] = false;
    if ((word & Numbers::kDirty) != 0) dirty_[i] = false;
  });
}

template <SpteFormat F>
void TableHistory<F>::Reported(GfnRange range) {
  ForSamples(range, [&](std::size_t i) { owed_[i] = false; });
}

template <SpteFormat F>
SpteCell<F>* TableHistory<F>::EntryAt(std::uint64_t gfn, int level) {
  std::size_t table = *root_;
  for (int at = Numbers::kLevels; at > level; --at) {
    const Word word = Raw(table * kEntries + EntryIndex(gfn, at));
    if (!IsPresent(word) || IsLeaf(word, at)) return nullptr;
    table = *Child(word);
  }
  return &tables_[table].entries[EntryIndex(gfn, level)];
}

// --- The processor.

template <SpteFormat F>
void TableHistory<F>::Storing(const volatile void* word) {
  const std::optional<Slot> slot = SlotOf(word);
  if (!slot || !root_ || !judging_ || failed_ || !with_processor_) return;
  if (!of_tables_[*slot / kEntries].placed || random_() % 16 != 0) return;
  Act(*slot);
}

template <SpteFormat F>
void TableHistory<F>::Act(Slot near) {
  std::size_t sample = random_() % samples_.size();
  if (random_() % 4 != 0) {
    const GfnRange frames = FramesOf(near);
    const std::size_t from = IndexOf(frames.begin);
    const std::size_t to = IndexOf(frames.end);
    if (from < to) sample = from + random_() % (to - from);
  }
  const bool write = random_() % 2 == 0;
  switch (random_() % 3) {
    case 0:
      return TouchSample(sample, write);
    case 1:
      return BeginWalk(sample, write);
    default:
      if (walks_.empty()) return;
      EndWalk(walks_.back());
      walks_.pop_back();
  }
}

template <SpteFormat F>
void TableHistory<F>::Mark(Slot slot, std::uint64_t bits) {
  const Word before = Raw(slot);
  const auto after = static_cast<Word>(before | bits);
  if (after == before) return;
  if (judging_) ++marks_;
  history_.push_back(Store{slot, before, after, /*by_processor=*/true});
  SetRaw(slot, after);
}

template <SpteFormat F>
std::optional<std::size_t> TableHistory<F>::WalkDown(std::uint64_t gfn,
                                                     int level) {
  std::size_t table = *root_;
  for (int at = Numbers::kLevels; at > level; --at) {
    const Slot slot = table * kEntries + EntryIndex(gfn, at);
    const Word word = Raw(slot);
    if (!IsPresent(word) || IsLeaf(word, at)) return std::nullopt;
    if (Numbers::kMarksInner) Mark(slot, Numbers::kAccessed);
    table = *Child(word);
  }
  return table;
}

template <SpteFormat F>
bool TableHistory<F>::MarkLeaf(Slot slot, int level, std::size_t sample,
                               bool write) {
  const Word word = Raw(slot);
  if (!IsPresent(word) || !IsLeaf(word, level)) return false;
  accessed_[sample] = true;
  std::uint64_t bits = Numbers::kAccessed;
  if (write && (Numbers::Grants(word, level) & kMayWrite) != 0) {
    dirty_[sample] = true;
    bits |= Numbers::kDirty;
  }
  Mark(slot, bits);
  return true;
}

template <SpteFormat F>
void TableHistory<F>::TouchSample(std::size_t sample, bool write) {
  const std::uint64_t gfn = samples_[sample];
  for (int level = Numbers::kLevels; level > 0; --level) {
    const std::optional<std::size_t> table = WalkDown(gfn, level);
    if (!table) return;
    const Slot slot = *table * kEntries + EntryIndex(gfn, level);
    if (MarkLeaf(slot, level, sample, write)) return;
  }
}

template <SpteFormat F>
void TableHistory<F>::BeginWalk(std::size_t sample, bool write) {
  const std::optional<std::size_t> table = WalkDown(samples_[sample], 1);
  if (table) walks_.push_back(OpenWalk{sample, *table, write});
}

template <SpteFormat F>
void TableHistory<F>::EndWalk(const OpenWalk& walk) {
  // Were it free by now, the flush has come too late.
  if (!of_tables_[walk.table].placed) {
    return Fail("a processor is in a table that has left the tree");
  }
  MarkLeaf(walk.table * kEntries + EntryIndex(samples_[walk.sample], 1), 1,
           walk.sample, walk.write);
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_HISTORY_TABLE_HISTORY_H_
