// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The memory of a guest: ranges of frames with the host memory behind them, and
// one rmap head per frame and level.
//
// Contract
//   Add may be called by any thread, one at a time (a lock). Find and ForEach
//   may be called by any thread at any time, inside a LocklessWalk; they see
//   the slots of one moment, and are wait-free. A slot lives as long as the
//   set.
//
// Sites (order · partner)
//   [memslot.1] release store in Add       · [memslot.2]
//   [memslot.2] acquire load in Snapshot   · [memslot.1]

#ifndef PTAGE_MEMSLOT_H_
#define PTAGE_MEMSLOT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/rmap.h"
#include "ptage/spte.h"
#include "ptage/types.h"

namespace ptage {

// A range of guest frames backed by consecutive host frames.
template <SpteFormat F>
class Memslot {
 public:
  Memslot(GfnRange frames, Pfn base, Rights rights);

  [[nodiscard]] GfnRange frames() const { return frames_; }
  [[nodiscard]] Rights rights() const { return rights_; }
  // Precondition of all below: `gfn` is in the slot.
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
  std::vector<std::unique_ptr<RmapHead[]>> heads_;  // by level − 1
};

template <SpteFormat F, Reclaimer R>
class Memslots {
  static_assert(!kTypeStable<R>,
                "Memslots: a set of slots is freed, not used again, so it "
                "needs a reclaimer that waits for walks; TypeStable does not");

 public:
  using Walk = LocklessWalk<R>;

  explicit Memslots(R& reclaimer) : reclaimer_(reclaimer), current_(nullptr) {}
  // Precondition: no other thread uses the set.
  ~Memslots() { delete ReadOnce(current_, kRelaxed); }
  Memslots(const Memslots&) = delete;
  Memslots& operator=(const Memslots&) = delete;

  // InvalidArgument: `frames` is empty or reversed, or reaches beyond `limit`;
  // AlreadyExists: it overlaps a slot.
  absl::Status Add(GfnRange frames, Pfn base, Rights rights, Gfn limit);

  // The slot that holds `gfn`; null if none does.
  [[nodiscard]] Memslot<F>* Find(const Walk& walk, Gfn gfn) const;

  // Calls `visit(Memslot<F>&, GfnRange part)` for each slot that shares frames
  // with `range`, in order.
  template <class Visitor>
  void ForEach(const Walk& walk, GfnRange range, Visitor&& visit) const;

 private:
  // Immutable once published; replaced whole.
  struct Set : Retired {
    std::vector<std::shared_ptr<Memslot<F>>> slots;  // in order of frames
  };

  // [memslot.2] acquire, pairs with [memslot.1].
  [[nodiscard]] const Set* Snapshot(const Walk& walk) const {
    PTAGE_ASSERT(static_cast<bool>(walk));
    return ReadOnce(current_, kAcquire);
  }

  R& reclaimer_;
  absl::Mutex writer_;
  Cell<Set*> current_;
};

// ---------------------------------------------------------------------------

template <SpteFormat F>
Memslot<F>::Memslot(GfnRange frames, Pfn base, Rights rights)
    : frames_(frames), base_(base), rights_(rights) {
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
absl::Status Memslots<F, R>::Add(GfnRange frames, Pfn base, Rights rights,
                                 Gfn limit) {
  if (frames.Empty() || frames.end > limit) {
    return absl::InvalidArgumentError(
        absl::StrFormat("memslot [%d, %d): want begin < end <= %d",
                        frames.begin.value, frames.end.value, limit.value));
  }
  absl::MutexLock lock(&writer_);
  Set* const old = ReadOnce(current_, kRelaxed);
  auto next = std::make_unique<Set>();
  if (old != nullptr) next->slots = old->slots;
  for (const auto& slot : next->slots) {
    if (slot->frames().Overlaps(frames)) {
      return absl::AlreadyExistsError(absl::StrFormat(
          "memslot [%d, %d) overlaps [%d, %d)", frames.begin.value,
          frames.end.value, slot->frames().begin.value,
          slot->frames().end.value));
    }
  }
  next->slots.push_back(std::make_shared<Memslot<F>>(frames, base, rights));
  std::sort(next->slots.begin(), next->slots.end(),
            [](const auto& a, const auto& b) {
              return a->frames().begin < b->frames().begin;
            });
  // [memslot.1] release, pairs with [memslot.2].
  WriteOnce(current_, next.release(), kRelease);
  if (old != nullptr) {
    old->free = [](Retired& self, void*) { delete static_cast<Set*>(&self); };
    reclaimer_.Retire(*old);
  }
  return absl::OkStatus();
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
  const Set* const set = Snapshot(walk);
  if (set == nullptr) return;
  auto slot = std::partition_point(
      set->slots.begin(), set->slots.end(),
      [&](const auto& other) { return other->frames().end <= range.begin; });
  for (; slot != set->slots.end(); ++slot) {
    const GfnRange part = (*slot)->frames().Clip(range);
    if (part.Empty()) break;
    visit(**slot, part);
  }
}

}  // namespace ptage

#endif  // PTAGE_MEMSLOT_H_
