// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the hosted floors share: the three questions as an MMU, a VM and a chain
// of notifiers ask them, what a fault may come to, and what a zap hands over.

#ifndef PTAGE_MMU_H_
#define PTAGE_MMU_H_

#include <algorithm>
#include <concepts>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "ptage/fast_fault.h"
#include "ptage/hold.h"
#include "ptage/reclaim.h"
#include "ptage/types.h"

namespace ptage {

// A frame of a nested guest (L2): what its own tables, kept by the guest (L1),
// translate to a Gfn.
struct NestedGfn {
  std::uint64_t value = 0;  // in frames

  friend constexpr auto operator<=>(NestedGfn, NestedGfn) = default;
  // The frame so many further on. Precondition: there is one.
  friend constexpr NestedGfn operator+(NestedGfn gfn, std::uint64_t frames) {
    return NestedGfn{gfn.value + frames};
  }
};

// The frames begin … end − 1 of a nested guest.
struct NestedRange {
  NestedGfn begin;  // the first
  NestedGfn end;    // the one behind the last
};

// A nested guest, by number: each has frames of its own. The first is always
// there.
enum class NestedGuest : std::uint32_t { kFirst };

// What L1's tables say of a frame of L2.
struct NestedMapping {
  // Of a frame alone: L1 allows everything, by a small page.
  NestedMapping(Gfn frame, Rights allowed = Rights::kAll,  // NOLINT: implicit
                Level size = Level{1})
      : gfn(frame), rights(allowed), level(size) {}

  Gfn gfn;        // the frame of L1 behind it
  Rights rights;  // what L1 allows there now
  Level level;    // of L1's page
};

// What a fault comes to. But for kRetry and kNoMemory, trying again at once
// changes nothing.
enum class FaultOutcome {
  kMapped,        // an entry was made, which allows the access
  kFixed,         // an entry was there, and allows the access from now on
  kSpurious,      // an entry that allows the access is there already
  kRetry,         // raced with a change: leave the fault path, then try again
  kNoSlot,        // no memslot holds the frame (for a hypervisor: MMIO)
  kNotPermitted,  // the memslot does not grant the access
  kReflected,     // L1's own tables do not allow it: L1 gets the fault
  kGuestTable,    // a write to a frame that holds a table of the guest's: it is
                  // to be carried out for it (legacy_shadow.h)
  kNoMemory,      // for a table, or for the list of a frame's entries
};

// What a fast fault comes to, if it is not for the slow path, or where the slow
// path found the entry there.
[[nodiscard]] constexpr FaultOutcome OutcomeOf(FastFaultOutcome fast) {
  switch (fast) {
    case FastFaultOutcome::kFixed:
      return FaultOutcome::kFixed;
    case FastFaultOutcome::kSpurious:
      return FaultOutcome::kSpurious;
    case FastFaultOutcome::kNotPermitted:
      return FaultOutcome::kNotPermitted;
    case FastFaultOutcome::kLostRace:
    case FastFaultOutcome::kNotHere:
      break;
  }
  return FaultOutcome::kRetry;
}

// A leaf that was zapped, as it goes to whoever reclaims the page.
struct ZappedLeaf {
  Gfn gfn;      // the first frame
  Level level;  // its size
  Pfn pfn;      // the first host frame
  // Since the bit was last cleared.
  bool accessed;
  bool dirty;
};

// Called while the entry is frozen. It must not wait for a fault or an
// invalidation.
using ZapSink = absl::FunctionRef<void(const ZappedLeaf&)>;

// What is asked of whoever comes next while entries are frozen (hold.h).
using TakeRest = absl::FunctionRef<TakeOutcome()>;

// A Flusher that flushes nothing yet: it collects ranges, of whichever address
// space, for one flush that covers them all.
class FlushLater {
 public:
  void Flush(GfnRange range) {
    if (range.Empty()) return;
    range_ = range_.Empty() ? range
                            : GfnRange{std::min(range_.begin, range.begin),
                                       std::max(range_.end, range.end)};
  }
  // Flushes what was collected, if anything was.
  template <class Fl>
  void FlushAll(Fl& flusher) const {
    if (!range_.Empty()) flusher.Flush(range_);
  }

 private:
  GfnRange range_;
};

// Answers by GfnRange. `was_fast` and `complete` are as AgeResult says.
template <class T>
concept Ageable = requires(T& asked, GfnRange range, AgeAction action,
                           AgeMode mode, const AgeOutput& output) {
  { asked.Age(range, action, mode, output) } -> std::same_as<AgeResult>;
};

// An MMU: its fast-ness is a constant, never a snapshot. If it is true, its
// fast-only question is wait-free and answers for every entry.
template <class T>
concept AgeableMmu = Ageable<T> && requires {
  { T::kFastAging } -> std::convertible_to<bool>;
};

// The three questions over Age, for whoever derives from this.
template <class Self>
class AgeQuestions {
 public:
  // Was a frame of the range accessed since it was last cleared? TestYoung
  // changes nothing; TestClearYoung clears; both may wait, and examine every
  // entry that is there for the whole call. TestClearYoungFastOnly clears and
  // never waits: what it cannot answer is unknown, and untouched. Bits for
  // frames go to `output`, which spans the range.
  AgeResult TestYoung(GfnRange range, const AgeOutput& output = {}) {
    return self().Age(range, AgeAction::kTest, AgeMode::kSlow, output);
  }
  AgeResult TestClearYoung(GfnRange range, const AgeOutput& output = {}) {
    return self().Age(range, AgeAction::kTestAndClear, AgeMode::kSlow, output);
  }
  AgeResult TestClearYoungFastOnly(GfnRange range,
                                   const AgeOutput& output = {}) {
    return self().Age(range, AgeAction::kTestAndClear, AgeMode::kFastOnly,
                      output);
  }

 private:
  Self& self() { return static_cast<Self&>(*this); }
};

// How the walk of an aging question begins: fast-only does not wait for a
// place.
[[nodiscard]] constexpr WalkEntry EntryFor(AgeMode mode) {
  return mode == AgeMode::kSlow ? WalkEntry::kWait : WalkEntry::kTry;
}

// The answer where a walk could not begin.
inline AgeResult Unanswered(GfnRange range, const AgeOutput& output) {
  output.SetUnknown(range);
  return AgeResult{.complete = false};
}

}  // namespace ptage

#endif  // PTAGE_MMU_H_
