// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of lru/look_around.h: who looks around a page, against who holds the
// lock of its table, unmaps it, uses it, or looks as well.

#ifndef PTAGE_TEST_RELACY_LOOK_AROUND_SEARCHES_H_
#define PTAGE_TEST_RELACY_LOOK_AROUND_SEARCHES_H_

#include <cstdint>
#include <optional>

#include "ptage/lru/look_around.h"
#include "ptage/once.h"
#include "ptage/primary_mmu.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// A process of two pages, kA and kB, and one other MMU that maps them. Its
// entries are the library's; the lock of its table can be tried, as Abseil's
// cannot here.
class LookedAtProcess {
 public:
  static constexpr std::uint64_t kFramesPerLock = 2;
  static constexpr GfnRange kAll{kA, Gfn{2}};

  struct Mapping {
    GfnRange frames;
    MappingKind kind;
  };
  class [[nodiscard]] TableLock {
   public:
    explicit TableLock(LookedAtProcess* of) : of_(of) {}
    explicit operator bool() const { return of_ != nullptr; }
    ~TableLock() {
      if (of_ == nullptr) return;
      of_->looks_ = false;
      of_->lock_.unlock(RL_INFO);
    }
    TableLock(const TableLock&) = delete;
    TableLock& operator=(const TableLock&) = delete;

   private:
    LookedAtProcess* const of_;
  };

  LookedAtProcess() : kind_(kOrdinary), own_{}, others_{} {
    for (const Gfn gfn : {kA, kB}) {
      WriteOnce(own(gfn), Leaf(Backing(gfn)), kRelaxed);
      WriteOnce(others(gfn), Leaf(Backing(gfn)), kRelaxed);
    }
  }

  // Alone.
  void OthersAreSlow() { others_fast_ = false; }
  void MakeSpecial() { WriteOnce(kind_, kSpecial, kRelaxed); }

  // What look-around asks.
  AgeResult AgeOwn(GfnRange range, AgeAction action, AgeMode mode,
                   const AgeOutput& output) {
    return Age(own_, /*fast=*/true, range, action, mode, output);
  }
  AgeResult AgeOthers(GfnRange range, AgeAction action, AgeMode mode,
                      const AgeOutput& output) {
    return Age(others_, others_fast_, range, action, mode, output);
  }
  AgeResult TestClearYoungFastOnly(GfnRange range, const AgeOutput& output) {
    Require(looks_, "neighbours are asked under the lock of their table");
    AgeResult result =
        AgeOwn(range, AgeAction::kTestAndClear, AgeMode::kFastOnly, output);
    result |=
        AgeOthers(range, AgeAction::kTestAndClear, AgeMode::kFastOnly, output);
    return result;
  }
  AgeResult TestClearYoung(GfnRange range, const AgeOutput& output) {
    AgeResult result =
        AgeOwn(range, AgeAction::kTestAndClear, AgeMode::kSlow, output);
    result |=
        AgeOthers(range, AgeAction::kTestAndClear, AgeMode::kSlow, output);
    return result;
  }
  std::optional<Mapping> MappingAt(Gfn) const {
    const std::uint32_t kind = ReadOnce(kind_, kRelaxed);
    if (kind == kNone) return std::nullopt;
    return Mapping{kAll, kind == kSpecial ? MappingKind::kSpecial
                                          : MappingKind::kOrdinary};
  }
  TableLock TryLockTable(Gfn) {
    if (!lock_.try_lock(RL_INFO)) return TableLock(nullptr);
    looks_ = true;
    return TableLock(this);
  }
  TableLock LockTable(Gfn gfn) {
    Require(!held_, "who looks around waits for nobody");
    return TryLockTable(gfn);
  }

  // Looks around the page, and keeps score.
  LookedAround Look(Gfn page) {
    const LookedAround seen = LookAround(*this, page);
    Require(seen.page.young || seen.young == 0,
            "a page with young neighbours is young");
    for (const Gfn gfn : {kA, kB}) {
      const bool reported =
          (seen.asked.Contains(gfn) &&
           (seen.young >> (gfn - seen.asked.begin) & 1) != 0) ||
          (gfn == page && seen.page.young);
      if (!reported) continue;
      Require(used_[gfn.value], "what is young was used");
      told_[gfn.value] = true;
    }
    return seen;
  }
  // An access by the process's entry, or through the others'.
  void Use(Gfn gfn) {
    if (AccessSeen(own(gfn), ReadOnce(own(gfn), kRelaxed), AccessKind::kRead)) {
      used_[gfn.value] = true;
    }
  }
  void UseByOthers(Gfn gfn) {
    if (AccessSeen(others(gfn), ReadOnce(others(gfn), kRelaxed),
                   AccessKind::kRead)) {
      used_[gfn.value] = true;
    }
  }
  // An owner who holds the entry of a page for a while, with its bit.
  void FreezeAndRestore(Gfn gfn) {
    const Word seen = ReadOnce(own(gfn), kRelaxed);
    if (Freeze<TinyFormat>(own(gfn), seen)) Restore<TinyFormat>(own(gfn), seen);
  }
  // Who holds the lock of the table, and unmaps kB meanwhile.
  void UnmapUnderTheLock() {
    lock_.lock(RL_INFO);
    held_ = true;
    ZapAndTell(kB);
    held_ = false;
    lock_.unlock(RL_INFO);
  }
  // Takes the mapping away, and what is mapped there.
  void RemoveMapping() {
    WriteOnce(kind_, kNone, kRelaxed);
    lock_.lock(RL_INFO);
    held_ = true;
    for (const Gfn gfn : {kA, kB}) ZapAndTell(gfn);
    held_ = false;
    lock_.unlock(RL_INFO);
  }

  // Alone, when all is done.
  void Check() {
    for (const Gfn gfn : {kA, kB}) {
      Require(!used_[gfn.value] || told_[gfn.value] || Young(gfn),
              "no access is lost");
    }
  }
  [[nodiscard]] bool Young(Gfn gfn) {
    return IsYoung<TinyFormat>(ReadOnce(own(gfn), kRelaxed)) ||
           IsYoung<TinyFormat>(ReadOnce(others(gfn), kRelaxed));
  }

 private:
  static constexpr std::uint32_t kNone = 0;
  static constexpr std::uint32_t kOrdinary = 1;
  static constexpr std::uint32_t kSpecial = 2;

  Entry& own(Gfn gfn) { return own_[gfn.value]; }
  Entry& others(Gfn gfn) { return others_[gfn.value]; }
  static AgeResult Age(Entry (&entries)[2], bool fast, GfnRange range,
                       AgeAction action, AgeMode mode,
                       const AgeOutput& output) {
    AgeResult result;
    for (Gfn gfn = range.begin; gfn < range.end; gfn = gfn + 1) {
      const AgeResult one = ToResult(
          AgeEntry<TinyFormat>(entries[gfn.value], action, [] { return true; }),
          mode);
      if (one.young) output.SetYoung(GfnRange{gfn, gfn + 1});
      result |= one;
    }
    result.was_fast = fast && result.young;
    return result;
  }
  void ZapAndTell(Gfn gfn) {
    for (Entry* const entry : {&own(gfn), &others(gfn)}) {
      (void)Zap<TinyFormat>(
          *entry, [] {},
          [&](Word taken) {
            if (IsYoung<TinyFormat>(taken)) told_[gfn.value] = true;
          });
    }
  }

  rl::mutex lock_;
  bool looks_ = false;  // under the lock
  bool held_ = false;   // by who is no looker
  Cell<std::uint32_t> kind_;
  Entry own_[2];
  Entry others_[2];
  bool others_fast_ = true;
  bool used_[2] = {};
  bool told_[2] = {};
};

// --- Against who holds the lock: the page that was young is young, and the
// next to ask finds no access that belonged to this one.

enum class UsedBy { kProcess, kOthers, kBoth };

template <UsedBy kBy>
struct LookerAgainstHolder : rl::test_suite<LookerAgainstHolder<kBy>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LookedAtProcess process;

  void before() {
    if (kBy != UsedBy::kOthers) process.Use(kA);
    if (kBy != UsedBy::kProcess) process.UseByOthers(kA);
    process.Use(kB);
  }
  void thread(unsigned index) {
    if (index != 0) return process.UnmapUnderTheLock();
    const LookedAround first = process.Look(kA);
    Require(first.page.young, "what was young stays young");
    Require((first.left_out == LeftOut::kContended) == first.asked.Empty(),
            "a lock that is held leaves the neighbours out, and nothing else");
    Require(!process.Look(kA).page.young, "an access is told of once");
  }
  void after() { process.Check(); }
};

// --- Answers that leave the neighbours alone, whoever holds the lock.

enum class Alone { kSlow, kSpecial };

template <Alone kWhy>
struct LookerAlone : rl::test_suite<LookerAlone<kWhy>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LookedAtProcess process;

  void before() {
    if (kWhy == Alone::kSlow) {
      process.OthersAreSlow();
      process.UseByOthers(kA);
    } else {
      process.MakeSpecial();
      process.Use(kA);
    }
  }
  void thread(unsigned index) {
    if (index != 0) return process.Use(kB);
    const LookedAround seen = process.Look(kA);
    Require(seen.page.young, "what was young stays young");
    Require(seen.asked.Empty(), "the neighbours are left alone");
  }
  void after() {
    process.Check();
    Require(process.Young(kB), "who is left alone keeps its access");
  }
};

// --- Against who takes the mapping away.

struct LookerAgainstUnmap : rl::test_suite<LookerAgainstUnmap, 3> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  LookedAtProcess process;

  void before() {
    process.Use(kA);
    process.UseByOthers(kB);
  }
  void thread(unsigned index) {
    if (index == 0) {
      (void)process.Look(kA);
    } else if (index == 1) {
      process.RemoveMapping();
    } else {
      process.UseByOthers(kA);
    }
  }
  void after() { process.Check(); }
};

// --- Against who looks as well, and one that uses both pages.

struct LookerAgainstLooker : rl::test_suite<LookerAgainstLooker, 3> {
  static constexpr Plan kPlan = UpToPreemptions(3);

  LookedAtProcess process;

  void before() { process.UseByOthers(kA); }
  void thread(unsigned index) {
    if (index < 2) {
      (void)process.Look(index == 0 ? kA : kB);
    } else {
      process.Use(kB);
      process.UseByOthers(kA);
    }
  }
  void after() { process.Check(); }
};

// --- A neighbour whose entry somebody holds is not said to be young.

struct LookerAgainstOwner : rl::test_suite<LookerAgainstOwner, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  LookedAtProcess process;

  void before() { process.Use(kA); }
  void thread(unsigned index) {
    if (index == 0) {
      (void)process.Look(kA);
    } else {
      process.FreezeAndRestore(kB);
    }
  }
  void after() { process.Check(); }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_LOOK_AROUND_SEARCHES_H_
