// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A guest without nested paging, with its MMU (legacy_shadow.h), and what
// becomes of its accesses.

#ifndef PTAGE_TEST_RELACY_LEGACY_GUEST_H_
#define PTAGE_TEST_RELACY_LEGACY_GUEST_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "ptage/guest_walk.h"
#include "ptage/legacy_shadow.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/once/mutex.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/frees_at_the_end.h"
#include "test/relacy/guarded_format.h"
#include "test/relacy/guest_frames.h"
#include "test/relacy/score.h"
#include "test/relacy/search.h"
#include "test/relacy/shadowed.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

using GuardedGuest = OfGuest<GuardedFormat>;

// What the guest writes into its tables. Rights are in inner entries too.
constexpr Word TableWord(Gfn table) {
  return GuardedGuest::MakeInner(Pfn{table.value}) | GuardedGuest::kWritable;
}
constexpr Word PageWord(Gfn page) {
  return GuardedGuest::MakeLeaf(Pfn{page.value}, Level{1}, Rights::kAll);
}

// Its pages 0 and 1 are those of the table, 2 and 3 those of what its root's
// second entry leads to. There is memory for `kTables` shadow tables.
template <class Fl = NoFlush, class R = FreesAtTheEnd, std::size_t kTables = 4>
class LegacyGuest {
 public:
  using Arena = ShadowArena<kTables>;
  using Rmaps = ShadowRmaps<Arena>;
  using Frames = GuestFrames<GuardedGuest, kGuestFrames>;
  using Mmu =
      LegacyShadow<GuardedFormat, Arena, R, Fl, Rmaps, GuardedGuest, Frames>;

  // `cap`: entries of one frame.
  explicit LegacyGuest(std::uint32_t cap = kDefaultRmapCap)
      : rmaps_(arena_, pool_, cap) {}

  // --- Alone, before the threads and after them.

  void MakeWithoutSlot() {
    on_record_.Set(false);
    mmu_.emplace(typename Mmu::Parts{arena_, reclaimer_, flusher_, rmaps_,
                                     mmu_lock_, frames_},
                 typename Mmu::Limits{.frames = kGuestFrames, .tables = 4},
                 Sink());
    Load();
  }
  void Make() {
    MakeWithoutSlot();
    AddSlot();
  }
  // The guest's tables say: page 0 is `first`, page 1 is `second`.
  void MakeWithPages(Gfn first = kA, Gfn second = kB) {
    WriteTable(0, kTableFrame, first);
    WriteOnce(frames_.WordAt(kTableFrame, 1), PageWord(second), kRelaxed);
    Make();
  }
  // Before that: entry `index` of the root leads to a table in `frame`, whose
  // first entry maps `page`.
  void WriteTable(unsigned index, Gfn frame, Gfn page) {
    WriteOnce(frames_.WordAt(kRootFrame, index), TableWord(frame), kRelaxed);
    WriteOnce(frames_.WordAt(frame, 0), PageWord(page), kRelaxed);
  }
  void Clear() {
    if (loaded_) Unload();
    mmu_.reset();
    reclaimer_.FreeAll();
    Require(arena_.InUse() == 0, "no table leaks");
  }

  // --- What a CPU does.

  // Loads the root, which the functions below use.
  void Load(Gfn frame = kRootFrame) {
    const auto root = mmu_->LoadRoot(frame);
    Require(root.ok(), "there is memory for the root");
    root_ = *root;
    loaded_ = true;
  }
  void Unload() {
    mmu_->UnloadRoot(root_);
    loaded_ = false;
  }
  // A fault, as a CPU has it, until it comes to something. Precondition: what
  // it maps was not mapped.
  FaultOutcome Fault(unsigned page, Rights access, GuestTranslation& walked) {
    for (;;) {
      const FaultOutcome outcome =
          mmu_->Fault(root_, Gfn{page}, access, walked);
      if (outcome == FaultOutcome::kMapped) Accessed(walked.gfn, 0, access);
      if (outcome == FaultOutcome::kGuestTable) {
        Accessed(walked.gfn, 0, Rights::kRead);
      }
      if (outcome != FaultOutcome::kRetry) return outcome;
      SpinPause();
    }
  }
  FaultOutcome Fault(unsigned page, Rights access) {
    GuestTranslation walked;
    return Fault(page, access, walked);
  }
  void Accessed(Gfn gfn, Word before, Rights access) {
    scores_[gfn.value].Accessed(before, Allows(access, Rights::kWrite)
                                            ? AccessKind::kWrite
                                            : AccessKind::kRead);
  }
  // The guest writes a word by a trapped write.
  void Write(Gfn frame, unsigned index, Word word) {
    std::byte bytes[sizeof(word)];
    std::memcpy(bytes, &word, sizeof(word));
    Require(mmu_->GuestWrite(frame, index * sizeof(word), bytes, Sink())
                .has_value(),
            "the guest has the frame");
  }

  // --- What others do.

  void AddSlot() {
    Require(mmu_->AddMemslot(kPages, Backing(kA), Rights::kAll).ok(),
            "there is a slot");
  }
  // Where the bits go of what is taken away.
  auto Sink() {
    return [this](const ZappedLeaf& leaf) {
      scores_[leaf.gfn.value].Found(
          GuardedFormat::kPresent |
          (leaf.accessed ? GuardedFormat::kAccessed : Word{0}) |
          (leaf.dirty ? GuardedFormat::kDirty : Word{0}));
      if (leaf.accessed) on_record_.Set(true);
    };
  }
  // Asks, once, of a frame that is mapped and was accessed, and clears.
  void AskUsed(Gfn gfn) {
    AgeCounts counts;
    const AgeResult answer = mmu_->TestClearYoung(GfnRange{gfn, gfn + 1},
                                                  AgeOutput{.counts = &counts});
    // After a lost race the bit is still somewhere.
    for (std::uint64_t i = counts.lost_races; i < counts.young; ++i) {
      scores_[gfn.value].Aged(SpteAge::kYoung);
    }
    if (!answer.young) {
      Require(on_record_.Get(), "who finds nothing sees what was zapped");
    }
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
          ReadOnce(frames_.WordAt(root_.frame, page / 2), kRelaxed);
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
      scores_[Backed(leaf).value].Found(leaf);
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
    CheckScores();
  }
  // Where nothing is left that could be mapped.
  void CheckScores() const {
    for (const Score& score : scores_) score.Check();
  }

  Mmu* operator->() { return &*mmu_; }
  Frames& frames() { return frames_; }
  Entry& root() { return root_.table->entries[0]; }
  Arena& arena() { return arena_; }
  Fl& flusher() { return flusher_; }

 private:
  Frames frames_;
  Arena arena_;
  R reclaimer_;
  Fl flusher_;
  GuardedPool pool_;
  Rmaps rmaps_;
  HostedMutex mmu_lock_;
  std::optional<Mmu> mmu_;
  typename Mmu::Root root_{};
  bool loaded_ = false;
  Score scores_[2];
  Plain<bool> on_record_;
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_LEGACY_GUEST_H_
