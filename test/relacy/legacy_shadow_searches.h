// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of legacy_shadow.h: a guest's faults and writes to its tables, while
// others ask, invalidate and take memory away. What is below it (the walk of
// the guest's tables, the tree, the lock) is searched by itself; here it is the
// order in which the MMU uses them.

#ifndef PTAGE_TEST_RELACY_LEGACY_SHADOW_SEARCHES_H_
#define PTAGE_TEST_RELACY_LEGACY_SHADOW_SEARCHES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "absl/types/span.h"
#include "ptage/guest_walk.h"
#include "ptage/invalidate.h"
#include "ptage/legacy_shadow.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/once/mutex.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/guarded_format.h"
#include "test/relacy/search.h"
#include "test/relacy/shadow_tree_searches.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// The guest's own format.
struct GuardedGuest : GuardedFormat {
  static constexpr Word ReservedBits(Level, EntryKind, int) { return 0; }
};

// What the guest writes into its tables. Rights are in inner entries too.
constexpr Word TableWord(Gfn table) {
  return GuardedGuest::MakeInner(Pfn{table.value}) | GuardedGuest::kWritable;
}
constexpr Word PageWord(Gfn page) {
  return GuardedGuest::MakeLeaf(Pfn{page.value}, Level{1}, Rights::kAll);
}

// All of the guest's frames, each of which may be a table.
class GuestFrames {
 public:
  GuestFrames() {
    for (Table<GuardedGuest>& frame : frames_) {
      for (Entry& word : frame.entries) {
        WriteOnce(word, GuardedGuest::kEmpty, kRelaxed);
      }
    }
  }
  std::byte* At(std::uint64_t address, std::uint64_t) const {
    return reinterpret_cast<std::byte*>(&frames_[address >> 12]);
  }
  Entry& WordAt(Gfn frame, unsigned index) {
    return frames_[frame.value].entries[index];
  }

 private:
  mutable Table<GuardedGuest> frames_[kGuestFrames];
};

// The guest, with the MMU. Its pages 0 and 1 are those of the table, 2 and 3
// those of what its root's second entry leads to.
template <class Fl = NoFlush>
class LegacyGuest {
 public:
  using Mmu = LegacyShadow<GuardedFormat, TreeArena, FreesAtTheEnd, Fl,
                           TreeRmaps, GuardedGuest, GuestFrames>;

  // Alone, before the threads and after them.
  void Make() {
    mmu_.emplace(typename Mmu::Parts{arena_, reclaimer_, flusher_, rmaps_,
                                     mmu_lock_, frames_},
                 typename Mmu::Limits{.frames = kGuestFrames, .tables = 4});
    Require(mmu_->AddMemslot(kPages, Backing(kA), Rights::kAll).ok(),
            "there is a slot");
    const auto root = mmu_->LoadRoot(kRootFrame);
    Require(root.ok(), "there is memory for the root");
    root_ = *root;
  }
  // The guest's tables say: page 0 is kA, page 1 is kB.
  void MakeWithPages() {
    WriteOnce(frames_.WordAt(kRootFrame, 0), TableWord(kTableFrame), kRelaxed);
    WriteOnce(frames_.WordAt(kTableFrame, 0), PageWord(kA), kRelaxed);
    WriteOnce(frames_.WordAt(kTableFrame, 1), PageWord(kB), kRelaxed);
    Make();
  }
  void Clear() {
    mmu_->UnloadRoot(root_);
    mmu_.reset();
    reclaimer_.FreeAll();
    Require(arena_.InUse() == 0, "no table leaks");
  }

  // A fault, as a CPU has it, until it comes to something.
  FaultOutcome Fault(unsigned page, Rights access, GuestTranslation& walked) {
    for (;;) {
      const FaultOutcome outcome =
          mmu_->Fault(root_, Gfn{page}, access, walked);
      if (outcome != FaultOutcome::kRetry) return outcome;
      SpinPause();
    }
  }
  FaultOutcome Fault(unsigned page, Rights access) {
    GuestTranslation walked;
    return Fault(page, access, walked);
  }
  // The guest writes a word by a trapped write.
  template <class Told>
  void Write(Gfn frame, unsigned index, Word word, Told&& told) {
    std::byte bytes[sizeof(word)];
    std::memcpy(bytes, &word, sizeof(word));
    Require(mmu_->GuestWrite(frame, index * sizeof(word), bytes,
                             [&](const ZappedLeaf&) { told(); })
                .has_value(),
            "the guest has the frame");
  }
  void Write(Gfn frame, unsigned index, Word word) {
    Write(frame, index, word, [] {});
  }

  // The shadow leaf of a page; empty if there is none.
  Word Find(unsigned page) {
    const Word inner = ReadOnce(root_.table->entries[page / 2], kAcquire);
    if (!GuardedFormat::IsPresent(inner)) return GuardedFormat::kEmpty;
    return ReadOnce(
        arena_.TableAt(GuardedFormat::FrameOf(inner))->entries[page % 2],
        kAcquire);
  }
  [[nodiscard]] bool IsThere(unsigned page) {
    return GuardedFormat::IsPresent(Find(page));
  }

  // Alone. What is built is what the guest's tables say.
  void Check() {
    std::size_t linked = 0;
    std::uint32_t of[2] = {};
    for (unsigned i = 0; i < 2; ++i) {
      const Word inner = ReadOnce(root_.table->entries[i], kRelaxed);
      Require(!IsFrozen<GuardedFormat>(inner), "nothing stays frozen");
      if (GuardedFormat::IsPresent(inner)) ++linked;
    }
    for (unsigned page = 0; page < 4; ++page) {
      const Word leaf = Find(page);
      Require(!IsFrozen<GuardedFormat>(leaf), "nothing stays frozen");
      if (!GuardedFormat::IsPresent(leaf)) continue;
      const Word above =
          ReadOnce(frames_.WordAt(kRootFrame, page / 2), kRelaxed);
      const Gfn table{GuardedGuest::FrameOf(above).value};
      const Word said =
          GuardedGuest::IsPresent(above)
              ? ReadOnce(frames_.WordAt(table, page % 2), kRelaxed)
              : above;
      Require(GuardedGuest::IsPresent(said) &&
                  GuardedGuest::FrameOf(said).value == Backed(leaf).value &&
                  (!IsWritable(leaf) || IsDirty<GuardedGuest>(said)),
              "what is built is what the guest's tables say");
      Require((said & GuardedGuest::kAccessed) != 0,
              "the guest finds set what was used");
      ++of[Backed(leaf).value];
    }
    for (const Gfn gfn : {kA, kB}) {
      Require(mmu_->CountEntries(gfn) == of[gfn.value],
              "an entry is in the rmap of the frame that it maps");
      Require(
          !mmu_->IsTable(gfn) || mmu_->CountEntries(gfn, Rights::kWrite) == 0,
          "no leaf of a table's frame is writable");
    }
    // The root, and what it leads to.
    Require(mmu_->tables() == 1 + linked, "what is not linked does not stay");
  }

  Mmu* operator->() { return &*mmu_; }
  GuestFrames& frames() { return frames_; }
  Entry& root() { return root_.table->entries[0]; }
  TreeArena& arena() { return arena_; }
  Fl& flusher() { return flusher_; }

 private:
  GuestFrames frames_;
  TreeArena arena_;
  FreesAtTheEnd reclaimer_;
  Fl flusher_;
  GuardedPool pool_;
  TreeRmaps rmaps_{arena_, pool_};
  HostedMutex mmu_lock_;
  std::optional<Mmu> mmu_;
  typename Mmu::Root root_{};
};

// --- The guest fills a table and links it; another of its CPUs faults.

struct FaultAgainstLinking : rl::test_suite<FaultAgainstLinking, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() { guest.Make(); }
  void thread(unsigned index) {
    if (index == 0) {
      WriteOnce(guest.frames().WordAt(kTableFrame, 0), PageWord(kA), kRelaxed);
      guest.Write(kRootFrame, 0, TableWord(kTableFrame));
      return;
    }
    GuestTranslation walked;
    const FaultOutcome outcome = guest.Fault(0, Rights::kRead, walked);
    Require(outcome == FaultOutcome::kMapped || walked.level == Level{2},
            "what the guest wrote before it linked a table is there");
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- The guest changes an entry while another of its CPUs faults, which finds
// its tables built, or builds them.

enum class Changed { kToAnotherPage, kToNothing };

template <Changed kChanged>
struct FaultAgainstChange : rl::test_suite<FaultAgainstChange<kChanged>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() { guest.MakeWithPages(); }
  void thread(unsigned index) {
    if (index == 0) {
      guest.Write(kTableFrame, 0,
                  kChanged == Changed::kToAnotherPage ? PageWord(kB)
                                                      : GuardedGuest::kEmpty);
    } else {
      const FaultOutcome outcome = guest.Fault(0, Rights::kRead);
      Require(
          outcome == FaultOutcome::kMapped || kChanged == Changed::kToNothing,
          "a page that is there is mapped");
    }
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- The guest changes an entry that another of its CPUs uses.

struct ChangeAgainstCpu : rl::test_suite<ChangeAgainstCpu, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  UnwatchedHeap heap;
  LegacyGuest<TreeCpu> guest;

  void before() {
    guest.MakeWithPages();
    (void)guest.Fault(0, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      guest.Write(kTableFrame, 0, PageWord(kB));
      return;
    }
    for (int i = 0; i < 2; ++i) {
      const Word said =
          ReadOnce(guest.frames().WordAt(kTableFrame, 0), kAcquire);
      guest.flusher().Walk(
          guest.arena(), guest.root(), 0, AccessKind::kRead, [](Word) {},
          [&](Word leaf) {
            Require(GuardedGuest::FrameOf(said).value == Backed(leaf).value,
                    "who sees the change uses nothing from before");
          });
    }
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- A trapped write to a part of a word of a page, whose other parts another
// CPU of the guest's writes.

struct WriteAgainstNeighbour : rl::test_suite<WriteAgainstNeighbour, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() {
    guest.Make();
    WriteOnce(guest.frames().WordAt(kA, 0), 0, kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const std::byte byte{0x5A};
      (void)guest->GuestWrite(kA, 1, absl::MakeConstSpan(&byte, 1),
                              [](const ZappedLeaf&) {});
      return;
    }
    Entry& word = guest.frames().WordAt(kA, 0);
    Word seen = ReadOnce(word, kRelaxed);
    while (!TryCmpxchg(word, seen, seen | Word{0x77} << 16, kRelaxed)) {
      seen = ReadOnce(word, kRelaxed);
    }
  }
  void after() {
    Require(ReadOnce(guest.frames().WordAt(kA, 0), kRelaxed) == 0x77'5A00,
            "what is written to a part of a word leaves the others");
    guest.Clear();
  }
};

// --- Two faults, of both pages of a table, or of one.

template <unsigned kSecond>
struct TwoLegacyFaults : rl::test_suite<TwoLegacyFaults<kSecond>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() { guest.MakeWithPages(); }
  void thread(unsigned index) {
    const unsigned page = index == 0 ? 0 : kSecond;
    const FaultOutcome outcome = guest.Fault(page, Rights::kRead);
    Require(outcome == FaultOutcome::kMapped ||
                (kSecond == 0 && outcome == FaultOutcome::kSpurious),
            "a page that is there is mapped");
    Require(guest.IsThere(page),
            "who is told that a page is mapped finds it so");
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- A page becomes a table, by a fault of what it would map, while a fault of
// a write maps it.

struct TableAgainstWriter : rl::test_suite<TableAgainstWriter, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() {
    WriteOnce(guest.frames().WordAt(kRootFrame, 1), TableWord(kA), kRelaxed);
    WriteOnce(guest.frames().WordAt(kA, 0), PageWord(kB), kRelaxed);
    guest.MakeWithPages();
  }
  void thread(unsigned index) {
    if (index == 0) {
      Require(guest.Fault(2, Rights::kRead) == FaultOutcome::kMapped,
              "a page that is there is mapped");
      Require(guest->CountEntries(kA, Rights::kWrite) == 0,
              "no leaf of a table's frame is writable");
      return;
    }
    const FaultOutcome outcome = guest.Fault(0, Rights::kReadWrite);
    Require(outcome == FaultOutcome::kMapped ||
                outcome == FaultOutcome::kGuestTable,
            "a page that is there is mapped");
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- A frame is taken away while a fault maps it, and is not mapped again
// before the end.

struct FaultAgainstInvalidation : rl::test_suite<FaultAgainstInvalidation, 2> {
  static constexpr Plan kPlan = UpToPreemptions(3);
  static constexpr GfnRange kTaken{kA, kB};

  UnwatchedHeap heap;
  LegacyGuest<> guest;

  void before() { guest.MakeWithPages(); }
  void thread(unsigned index) {
    if (index == 1) {
      (void)guest.Fault(0, Rights::kRead);
      return;
    }
    const ScopedInvalidation open(guest->invalidations(), kTaken);
    (void)guest->ZapFrames(kTaken, [](const ZappedLeaf&) {});
    Require(guest->CountEntries(kA) == 0,
            "nothing maps a frame that is being taken away");
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

// --- The same while others ask.

struct ZapAgainstAge : rl::test_suite<ZapAgainstAge, 2> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  UnwatchedHeap heap;
  LegacyGuest<> guest;
  Plain<bool> on_record;

  void before() {
    on_record.Set(false);
    guest.MakeWithPages();
    (void)guest.Fault(0, Rights::kRead);
  }
  void thread(unsigned index) {
    if (index == 0) {
      (void)guest->ZapFrames(kPages, [this](const ZappedLeaf& leaf) {
        if (leaf.accessed) on_record.Set(true);
      });
      return;
    }
    const AgeResult answer = guest->TestYoung(kPages);
    Require(answer.young || on_record.Get(),
            "who finds nothing sees what was zapped");
  }
  void after() {
    guest.Check();
    guest.Clear();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_LEGACY_SHADOW_SEARCHES_H_
