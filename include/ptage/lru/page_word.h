// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What reclaim knows of a page, in one word: whether it is in memory and who
// may take it away, and when it was last found in use. The word of a page that
// was evicted stays behind as its shadow.
//
// Contract
//   Any threads may call any function at any time, within what is said of each.
//
//   absent   -- Add -->      resident
//   resident -- Claim -->    claimed    by one evictor
//   claimed  -- Release -->  absent (evicted), or resident
//   resident -- Free -->     absent, its history forgotten
//   claimed  -- Free -->     doomed:    Release makes it absent
//
//   * At most one thread has claimed a page; what it did before Release is seen
//     by who claims or adds the page next.
//   * A mark that is made before Claim makes Claim answer young, one that is
//     made before TakeMark is taken by it: so an evictor that has stopped the
//     page's users, and takes no mark, evicts no page that was used before. A
//     mark that comes later is dropped if the page goes: its fault comes back.
//   * Free never waits for the evictor and never takes the page from it:
//       evictor: claims          | owner: frees, and adds a new page
//       evictor: releases        | other evictor: claims that one
//     would end the other's claim.
//
//   Time is counted in ticks (lru.h), modulo 2^22: a page that nobody touched
//   for longer looks younger than it is.
//
//   Progress: lock-free; each function repeats only after another thread
//   changed the same page's word.
//
// Sites (order · partner)
//   [lru.1] release compare-and-swap in AddPage      · [lru.3]
//   [lru.2] release compare-and-swap in ReleasePage  · [lru.3], [lru.4]
//   [lru.3] acquire compare-and-swap in ClaimPage    · [lru.1], [lru.2]
//   [lru.4] acquire load in AddPage                  · [lru.2]

#ifndef PTAGE_LRU_PAGE_WORD_H_
#define PTAGE_LRU_PAGE_WORD_H_

#include <bit>
#include <cstdint>

#include "ptage/config.h"
#include "ptage/once.h"

namespace ptage {

// Where a page is, and who may take it. See the contract.
enum class PageState : std::uint32_t {
  kAbsent = 0,
  kResident = 1,
  kClaimed = 2,
  kDoomed = 3,  // claimed, and freed meanwhile
};

// What Claim comes to.
enum class ClaimOutcome {
  kClaimed,
  kYoung,  // it was marked: the mark is taken, the page counts as used
  kBusy,   // somebody else has it, or nobody: it is not in memory
};

// How an evictor leaves a page.
enum class EvictionVerdict {
  kEvicted,
  kYoung,  // it is in use: it stays
  kBusy,   // it could not be taken: it stays, as it was
};

// Two things are known of a page beside its state: the tick at which it was
// last found in use, and its tier, which is by how long it goes unused between
// two uses. Tier 0 has never been in memory, tier 1 was used once.
inline constexpr unsigned kPageTiers = 16;
inline constexpr unsigned kTierNever = 0;
inline constexpr unsigned kTierOnce = 1;

// From tier 2 on a tier is a power of two: it begins at an interval of
// 2^(tier - 2) ticks, the last without an end.
[[nodiscard]] constexpr unsigned TierOfInterval(std::uint32_t interval) {
  const auto width = static_cast<unsigned>(std::bit_width(interval | 1));
  return width + 1 < kPageTiers ? width + 1 : kPageTiers - 1;
}

// Half way from the tier that it was in to that of its last interval, rounded
// up: one interval tells little of a page that is used at random.
[[nodiscard]] constexpr unsigned TierAfter(unsigned before,
                                           std::uint32_t interval) {
  if (before == kTierNever) return kTierOnce;
  const unsigned last = TierOfInterval(interval);
  return before == kTierOnce ? last : (before + last + 1) / 2;
}

// A page was found in use: it had been in `before` for `age` ticks, and is in
// `after` from now on.
struct PageUse {
  unsigned before = kTierNever;  // a tier
  std::uint32_t age = 0;         // in ticks
  unsigned after = kTierNever;   // a tier

  friend constexpr bool operator==(const PageUse&, const PageUse&) = default;
};

// What a page's word says: a value, which functions change into another.
class PageWord {
 public:
  using Raw = std::uint32_t;

  // Bits of a tick; ticks are counted modulo kTicks.
  static constexpr unsigned kTickBits = 22;
  static constexpr std::uint32_t kTicks = std::uint32_t{1} << kTickBits;

  constexpr PageWord() = default;
  constexpr explicit PageWord(Raw raw) : raw_(raw) {}

  // The word itself; the state that is in it.
  [[nodiscard]] constexpr Raw raw() const { return raw_; }
  [[nodiscard]] constexpr PageState state() const {
    return static_cast<PageState>(raw_ & kStateMask);
  }
  // Whether there is a mark: it was used, and nobody has taken that into
  // account.
  [[nodiscard]] constexpr bool marked() const { return (raw_ & kMarked) != 0; }
  // Nobody has used the page but who faulted it in.
  [[nodiscard]] constexpr bool fresh() const { return (raw_ & kFresh) != 0; }
  // The tier; the tick of the last use, modulo kTicks; the ticks since.
  [[nodiscard]] constexpr unsigned tier() const {
    return raw_ >> kTierShift & (kPageTiers - 1);
  }
  [[nodiscard]] constexpr std::uint32_t tick() const {
    return raw_ >> kTickShift;
  }
  [[nodiscard]] constexpr std::uint32_t AgeAt(std::uint32_t now) const {
    return (now - tick()) & (kTicks - 1);
  }

  // The same page in another state; with a mark, or fresh, or not; last used
  // at another tick, and in another tier.
  [[nodiscard]] constexpr PageWord In(PageState state) const {
    return PageWord((raw_ & ~kStateMask) | static_cast<Raw>(state));
  }
  [[nodiscard]] constexpr PageWord Marked(bool marked) const {
    return PageWord(marked ? raw_ | kMarked : raw_ & ~kMarked);
  }
  [[nodiscard]] constexpr PageWord Fresh(bool fresh) const {
    return PageWord(fresh ? raw_ | kFresh : raw_ & ~kFresh);
  }
  [[nodiscard]] constexpr PageWord UsedAt(std::uint32_t now,
                                          unsigned tier) const {
    constexpr Raw kRest = kStateMask | kMarked | kFresh;
    return PageWord((raw_ & kRest) | tier << kTierShift |
                    (now & (kTicks - 1)) << kTickShift);
  }
  // The use of the page at `now`.
  [[nodiscard]] constexpr PageUse UseAt(std::uint32_t now) const {
    const unsigned after = TierAfter(tier(), AgeAt(now));
    if (tier() == kTierNever) return PageUse{.after = after};
    return PageUse{.before = tier(), .age = AgeAt(now), .after = after};
  }

 private:
  static constexpr Raw kStateMask = 3;
  static constexpr Raw kMarked = 1 << 2;
  static constexpr Raw kFresh = 1 << 3;
  static constexpr unsigned kTierShift = 4;
  static constexpr unsigned kTickShift = 10;

  Raw raw_ = 0;
};

// A page's word as threads share it. Zero is a page that was never in memory.
using PageCell = Cell<PageWord::Raw>;

// The page came into memory, by a fault whose own access its accessed bit will
// show: the first time that it is found young is that one. False: it is not
// absent, so that an evictor has not let go of it yet, or somebody else added
// it.
inline bool AddPage(PageCell& cell, std::uint32_t now, PageUse& use);

// Somebody uses the page and cannot wait for its accessed bit to tell. False:
// it is not in memory, or will not be.
inline bool MarkPage(PageCell& cell);

// Takes the mark. True if there was one.
inline bool TakeMark(PageCell& cell);

// A page of whichever state was found young: true if that is news, and `use`
// says what it is. One that an evictor has is marked too.
inline bool UsePage(PageCell& cell, std::uint32_t now, PageUse& use);

// Whether it was used cannot be said: it counts as old as if it had been, and
// nothing is learned of it.
inline void KeepPage(PageCell& cell, std::uint32_t now);

// Claims the page, unless it is marked: then takes the mark.
inline ClaimOutcome ClaimPage(PageCell& cell);

// Precondition: the caller has claimed the page. Returns the state in which it
// is left.
inline PageState ReleasePage(PageCell& cell, EvictionVerdict verdict);

// The page is no more: false if an evictor has it, who will let it go.
inline bool FreePage(PageCell& cell);

// ---------------------------------------------------------------------------

namespace internal {

[[nodiscard]] inline PageWord ReadPage(const PageCell& cell) {
  return PageWord(ReadOnce(cell, kRelaxed));
}
template <int kOrder>
[[nodiscard]] inline bool Replace(PageCell& cell, PageWord seen, PageWord next,
                                  Order<kOrder> order) {
  return TryCmpxchg(cell, seen.raw(), next.raw(), order);
}

}  // namespace internal

inline bool AddPage(PageCell& cell, std::uint32_t now, PageUse& use) {
  for (;;) {
    // [lru.4] acquire, pairs with [lru.2]: what the evictor did to it is done.
    const PageWord seen(ReadOnce(cell, kAcquire));
    if (seen.state() != PageState::kAbsent) return false;
    use = seen.UseAt(now);
    const PageWord next = seen.In(PageState::kResident)
                              .Marked(false)
                              .Fresh(true)
                              .UsedAt(now, use.after);
    // [lru.1] release, pairs with [lru.3].
    if (internal::Replace(cell, seen, next, kRelease)) return true;
  }
}

inline bool MarkPage(PageCell& cell) {
  for (;;) {
    const PageWord seen = internal::ReadPage(cell);
    if (seen.state() != PageState::kResident &&
        seen.state() != PageState::kClaimed) {
      return false;
    }
    // Also where there is a mark already: a load may return what an evictor has
    // taken meanwhile, a compare-and-swap may not.
    if (internal::Replace(cell, seen, seen.Marked(true), kRelaxed)) return true;
  }
}

inline bool TakeMark(PageCell& cell) {
  for (;;) {
    const PageWord seen = internal::ReadPage(cell);
    // Also where there is none, which a load may say of one just made.
    if (internal::Replace(cell, seen, seen.Marked(false), kRelaxed)) {
      return seen.marked();
    }
  }
}

inline bool UsePage(PageCell& cell, std::uint32_t now, PageUse& use) {
  for (;;) {
    const PageWord seen = internal::ReadPage(cell);
    if (seen.state() == PageState::kAbsent ||
        seen.state() == PageState::kDoomed) {
      return false;
    }
    const bool claimed = seen.state() == PageState::kClaimed;
    use = seen.UseAt(now);
    const bool news = !seen.fresh() && use.age != 0;
    const PageWord next =
        (news ? seen.UsedAt(now, use.after) : seen.UsedAt(now, seen.tier()))
            .Fresh(false)
            .Marked(seen.marked() || claimed);
    // Of a claimed page the mark must not be one that its evictor has taken.
    if (next.raw() == seen.raw() && !claimed) return false;
    if (internal::Replace(cell, seen, next, kRelaxed)) return news;
  }
}

inline void KeepPage(PageCell& cell, std::uint32_t now) {
  for (;;) {
    const PageWord seen = internal::ReadPage(cell);
    if (seen.state() != PageState::kResident) return;
    const PageWord next = seen.UsedAt(now, seen.tier());
    if (next.raw() == seen.raw()) return;
    if (internal::Replace(cell, seen, next, kRelaxed)) return;
  }
}

inline ClaimOutcome ClaimPage(PageCell& cell) {
  for (;;) {
    const PageWord seen = internal::ReadPage(cell);
    if (seen.state() != PageState::kResident) return ClaimOutcome::kBusy;
    if (seen.marked()) {
      if (internal::Replace(cell, seen, seen.Marked(false), kRelaxed)) {
        return ClaimOutcome::kYoung;
      }
      continue;
    }
    // [lru.3] acquire, pairs with [lru.1] and [lru.2]: what was done to the
    // page before it came in, or was let go, is done.
    if (internal::Replace(cell, seen, seen.In(PageState::kClaimed), kAcquire)) {
      return ClaimOutcome::kClaimed;
    }
  }
}

inline PageState ReleasePage(PageCell& cell, EvictionVerdict verdict) {
  for (;;) {
    const PageWord seen = internal::ReadPage(cell);
    const bool claimed = seen.state() == PageState::kClaimed;
    PTAGE_ASSERT(claimed || seen.state() == PageState::kDoomed);
    PageWord next;
    if (claimed) {
      next = verdict == EvictionVerdict::kEvicted
                 ? seen.In(PageState::kAbsent).Marked(false).Fresh(false)
                 : seen.In(PageState::kResident);
    }
    // [lru.2] release, pairs with [lru.3] and [lru.4].
    if (internal::Replace(cell, seen, next, kRelease)) return next.state();
  }
}

inline bool FreePage(PageCell& cell) {
  for (;;) {
    const PageWord seen = internal::ReadPage(cell);
    const bool claimed = seen.state() == PageState::kClaimed;
    if (seen.state() == PageState::kDoomed) return false;
    const PageWord next =
        claimed ? seen.In(PageState::kDoomed).Marked(false) : PageWord();
    if (internal::Replace(cell, seen, next, kRelaxed)) return !claimed;
  }
}

}  // namespace ptage

#endif  // PTAGE_LRU_PAGE_WORD_H_
