// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The memory of a guest: ranges of frames with the host memory behind them, and
// one rmap head per frame and level.
//
// Contract
//   Add, Remove and Move may be called by any thread; they exclude each other
//   (a lock). Find and ForEach may be called by any thread at any time, inside
//   a LocklessWalk; they see the slots of one moment, and are wait-free.
//   * A slot that was found stays until the walk ends. One that was removed or
//     moved meanwhile is out of date, and whoever would install an entry for it
//     has to learn that: by an invalidation that is open while slots change
//     (vm.h).
//   * A frame belongs to one slot at most, whichever address spaces see it: a
//     gfn names one page of memory.
//   * Whoever removes or moves a slot has emptied its rmaps before, and lets
//     nobody add to them.

#ifndef PTAGE_MEMSLOT_H_
#define PTAGE_MEMSLOT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "ptage/config.h"
#include "ptage/published.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// An address space of the guest, by number: what a processor may see. The first
// is always there; x86's system-management mode is another.
enum class AddressSpace : std::uint32_t { kFirst };

// Some of them.
class SpaceSet {
 public:
  // How many spaces there can be.
  static constexpr std::uint32_t kMost = 32;

  // Every space.
  [[nodiscard]] static constexpr SpaceSet All() {
    return SpaceSet(~std::uint32_t{0});
  }
  // One.
  [[nodiscard]] static constexpr SpaceSet Only(AddressSpace space) {
    PTAGE_ASSERT(static_cast<std::uint32_t>(space) < kMost);
    return SpaceSet(std::uint32_t{1} << static_cast<std::uint32_t>(space));
  }
  // Whether the space is in the set.
  [[nodiscard]] constexpr bool Has(AddressSpace space) const {
    return static_cast<std::uint32_t>(space) < kMost &&
           (bits_ >> static_cast<std::uint32_t>(space) & 1) != 0;
  }

 private:
  explicit constexpr SpaceSet(std::uint32_t bits) : bits_(bits) {}

  std::uint32_t bits_;
};

// A range of guest frames backed by consecutive host frames.
template <SpteFormat F>
class Memslot {
 public:
  Memslot(GfnRange frames, Pfn base, Rights rights,
          SpaceSet spaces = SpaceSet::All());

  // What it was made of: constant.
  [[nodiscard]] GfnRange frames() const { return frames_; }
  [[nodiscard]] Pfn base() const { return base_; }
  [[nodiscard]] Rights rights() const { return rights_; }
  // Where the memory is seen.
  [[nodiscard]] SpaceSet spaces() const { return spaces_; }
  // The host frame behind it. Precondition of all below: `gfn` is in the slot.
  [[nodiscard]] Pfn FrameOf(Gfn gfn) const {
    return base_ + (gfn - frames_.begin);
  }
  // The largest level up to `limit` at which one entry may map the page around
  // `gfn`: wholly inside, and aligned alike in guest and host.
  [[nodiscard]] Level LargestLevel(Gfn gfn, Level limit) const;

  // The head of the page at `level` that `gfn` lies in.
  [[nodiscard]] RmapHead& HeadOf(Gfn gfn, Level level) {
    const std::uint64_t frames = FramesAt<F>(level);
    return heads_[static_cast<std::size_t>(level.value - 1)]
                 [gfn.value / frames - frames_.begin.value / frames];
  }

 private:
  const GfnRange frames_;
  const Pfn base_;
  const Rights rights_;
  const SpaceSet spaces_;
  std::vector<std::unique_ptr<RmapHead[]>> heads_;  // by level − 1
};

// The slots of a VM, which faults find without a lock.
template <SpteFormat F, Reclaimer R>
class Memslots {
 public:
  using Walk = LocklessWalk<R>;

  // `reclaimer` outlives the slots.
  explicit Memslots(R& reclaimer) : slots_(reclaimer) {}

  // Adds a slot: `base` is behind its first frame. InvalidArgument: `frames` is
  // empty or reversed, or reaches beyond `limit`; the format's entries have no
  // room for a host frame, or `rights` are none that all formats can grant:
  // none at all, or to write and not to read. AlreadyExists: it overlaps a
  // slot.
  absl::Status Add(GfnRange frames, Pfn base, Rights rights, Gfn limit,
                   SpaceSet spaces = SpaceSet::All());

  // Removes the slot of exactly these frames. NotFound: there is none.
  absl::Status Remove(GfnRange frames);

  // Gives the memory of the slot of exactly these frames to as many frames from
  // `to` on: another slot, with rmaps of its own. NotFound: there is none;
  // InvalidArgument: they reach beyond `limit`; AlreadyExists: they overlap
  // another slot.
  absl::Status Move(GfnRange frames, Gfn to, Gfn limit);

  // Whether there is a slot of exactly these frames: OK or NotFound.
  [[nodiscard]] absl::Status Holds(GfnRange frames);

  // What Move would answer, had it been called instead.
  [[nodiscard]] absl::Status CanMove(GfnRange frames, Gfn to, Gfn limit);

  // The slot that holds `gfn`, until the walk ends; null if none does.
  // Wait-free.
  [[nodiscard]] Memslot<F>* Find(const Walk& walk, Gfn gfn) const;

  // Calls `visit(Memslot<F>&, GfnRange part)` for each slot that shares frames
  // with `range`, in order.
  template <class Visitor>
  void ForEach(const Walk& walk, GfnRange range, Visitor&& visit) const;

 private:
  // In order of frames.
  using Slots = std::vector<std::shared_ptr<Memslot<F>>>;

  static absl::Status NoSlot(GfnRange frames) {
    return absl::NotFoundError(absl::StrFormat(
        "no memslot [%d, %d)", frames.begin.value, frames.end.value));
  }
  // Takes the slot of exactly these frames out; null if there is none.
  static std::shared_ptr<Memslot<F>> Take(Slots& slots, GfnRange frames);
  // Whether frames may be added to the slots.
  static absl::Status Fits(const Slots& slots, GfnRange frames, Gfn limit);
  // Whether entries can lead to so many frames from `base` on, with the rights.
  static absl::Status CanBeMapped(std::uint64_t frames, Pfn base,
                                  Rights rights);
  static absl::Status Move(Slots& slots, GfnRange frames, Gfn to, Gfn limit);
  void Publish(Slots slots) ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_);

  absl::Mutex writer_;
  Published<Slots, R> slots_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F>
Memslot<F>::Memslot(GfnRange frames, Pfn base, Rights rights, SpaceSet spaces)
    : frames_(frames), base_(base), rights_(rights), spaces_(spaces) {
  for (Level level{1}; level <= F::kLargestLeaf; level = level.Above()) {
    const std::uint64_t size = FramesAt<F>(level);
    const std::uint64_t first = frames.begin.value / size;
    const std::uint64_t last = (frames.end.value - 1) / size;
    heads_.push_back(std::make_unique<RmapHead[]>(last - first + 1));
  }
}

template <SpteFormat F>
Level Memslot<F>::LargestLevel(Gfn gfn, Level limit) const {
  Level level{1};
  while (level < limit && level < F::kLargestLeaf) {
    const std::uint64_t size = FramesAt<F>(level.Above());
    const Gfn begin{gfn.value / size * size};
    if (!frames_.Contains(GfnRange{begin, begin + size}) ||
        FrameOf(begin).value % size != 0) {
      break;
    }
    level = level.Above();
  }
  return level;
}

template <SpteFormat F, Reclaimer R>
absl::Status Memslots<F, R>::Fits(const Slots& slots, GfnRange frames,
                                  Gfn limit) {
  if (frames.Empty() || frames.end > limit) {
    return absl::InvalidArgumentError(
        absl::StrFormat("memslot [%d, %d): want begin < end <= %d",
                        frames.begin.value, frames.end.value, limit.value));
  }
  for (const auto& slot : slots) {
    if (slot->frames().Overlaps(frames)) {
      return absl::AlreadyExistsError(absl::StrFormat(
          "memslot [%d, %d) overlaps [%d, %d)", frames.begin.value,
          frames.end.value, slot->frames().begin.value,
          slot->frames().end.value));
    }
  }
  return absl::OkStatus();
}

template <SpteFormat F, Reclaimer R>
absl::Status Memslots<F, R>::CanBeMapped(std::uint64_t frames, Pfn base,
                                         Rights rights) {
  if (rights == Rights::kNone ||
      (Allows(rights, Rights::kWrite) && !Allows(rights, Rights::kRead))) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "memslot with rights %d: want some, and no write without read",
        static_cast<unsigned>(rights)));
  }
  // An entry would drop the bits that it has no room for, and map another's
  // memory.
  const Pfn last = base + (frames - 1);
  if (last < base ||
      F::FrameOf(F::MakeLeaf(last, Level{1}, Rights::kRead)) != last) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "memslot of %d frames from host frame %d on: entries of the format "
        "have no room for the last",
        frames, base.value));
  }
  return absl::OkStatus();
}

template <SpteFormat F, Reclaimer R>
auto Memslots<F, R>::Take(Slots& slots, GfnRange frames)
    -> std::shared_ptr<Memslot<F>> {
  const auto found =
      std::find_if(slots.begin(), slots.end(),
                   [&](const auto& slot) { return slot->frames() == frames; });
  if (found == slots.end()) return nullptr;
  std::shared_ptr<Memslot<F>> taken = *found;
  slots.erase(found);
  return taken;
}

template <SpteFormat F, Reclaimer R>
void Memslots<F, R>::Publish(Slots slots) {
  std::sort(slots.begin(), slots.end(), [](const auto& a, const auto& b) {
    return a->frames().begin < b->frames().begin;
  });
  slots_.Replace(std::move(slots));
}

template <SpteFormat F, Reclaimer R>
absl::Status Memslots<F, R>::Add(GfnRange frames, Pfn base, Rights rights,
                                 Gfn limit, SpaceSet spaces) {
  absl::MutexLock lock(&writer_);
  Slots slots = slots_.Latest();
  const absl::Status fits = Fits(slots, frames, limit);
  if (!fits.ok()) return fits;
  const absl::Status mapped = CanBeMapped(frames.Frames(), base, rights);
  if (!mapped.ok()) return mapped;
  slots.push_back(std::make_shared<Memslot<F>>(frames, base, rights, spaces));
  Publish(std::move(slots));
  return absl::OkStatus();
}

template <SpteFormat F, Reclaimer R>
absl::Status Memslots<F, R>::Remove(GfnRange frames) {
  absl::MutexLock lock(&writer_);
  Slots slots = slots_.Latest();
  if (Take(slots, frames) == nullptr) return NoSlot(frames);
  Publish(std::move(slots));
  return absl::OkStatus();
}

template <SpteFormat F, Reclaimer R>
absl::Status Memslots<F, R>::Move(Slots& slots, GfnRange frames, Gfn to,
                                  Gfn limit) {
  const std::shared_ptr<Memslot<F>> old = Take(slots, frames);
  if (old == nullptr) return NoSlot(frames);
  // Neither sum may overflow.
  const bool beyond = to > limit || frames.Frames() > limit - to;
  const GfnRange moved{to,
                       beyond ? Gfn{~std::uint64_t{0}} : to + frames.Frames()};
  const absl::Status fits = Fits(slots, moved, limit);
  if (!fits.ok()) return fits;
  slots.push_back(std::make_shared<Memslot<F>>(moved, old->base(),
                                               old->rights(), old->spaces()));
  return absl::OkStatus();
}

template <SpteFormat F, Reclaimer R>
absl::Status Memslots<F, R>::Move(GfnRange frames, Gfn to, Gfn limit) {
  absl::MutexLock lock(&writer_);
  Slots slots = slots_.Latest();
  const absl::Status moved = Move(slots, frames, to, limit);
  if (moved.ok()) Publish(std::move(slots));
  return moved;
}

template <SpteFormat F, Reclaimer R>
absl::Status Memslots<F, R>::Holds(GfnRange frames) {
  absl::MutexLock lock(&writer_);
  Slots slots = slots_.Latest();
  return Take(slots, frames) == nullptr ? NoSlot(frames) : absl::OkStatus();
}

template <SpteFormat F, Reclaimer R>
absl::Status Memslots<F, R>::CanMove(GfnRange frames, Gfn to, Gfn limit) {
  absl::MutexLock lock(&writer_);
  Slots slots = slots_.Latest();
  return Move(slots, frames, to, limit);
}

template <SpteFormat F, Reclaimer R>
Memslot<F>* Memslots<F, R>::Find(const Walk& walk, Gfn gfn) const {
  Memslot<F>* found = nullptr;
  ForEach(walk, GfnRange{gfn, gfn + 1},
          [&](Memslot<F>& slot, GfnRange) { found = &slot; });
  return found;
}

template <SpteFormat F, Reclaimer R>
template <class Visitor>
void Memslots<F, R>::ForEach(const Walk& walk, GfnRange range,
                             Visitor&& visit) const {
  const Slots& slots = slots_.Read(walk);
  auto slot = std::partition_point(
      slots.begin(), slots.end(),
      [&](const auto& other) { return other->frames().end <= range.begin; });
  for (; slot != slots.end(); ++slot) {
    const GfnRange part = (*slot)->frames().Clip(range);
    if (part.Empty()) break;
    visit(**slot, part);
  }
}

}  // namespace ptage

#endif  // PTAGE_MEMSLOT_H_
