// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A gate: many threads pass through it side by side, and one that closes it has
// them all outside. For what happens all the time and is excluded now and then.
//
// Contract
//   Any threads may enter and leave, each with the pass that it was given.
//   Those who close the gate exclude each other, and open it themselves.
//
//   * Between Close and Open nobody is inside. What a thread wrote inside is
//     visible to whoever closes the gate afterwards, and what he wrote while it
//     was closed to all who enter later.
//   * Threads that are inside at the same time do not write to the same line,
//     unless two hints lead to one of the kShards lines.
//   * Nobody inside may wait for a thread that waits for the gate to close.
//
//   Progress: TryEnter and Leave wait-free; Close waits for those inside, and
//   nobody enters meanwhile.
//
// Sites (order · partner)
//   [gate.1] sequentially consistent addition in TryEnter · [gate.4]
//   [gate.2] sequentially consistent load in TryEnter     · [gate.3], [gate.5]
//   [gate.3] sequentially consistent store in Close       · [gate.2]
//   [gate.4] sequentially consistent load in Close        · [gate.1], [gate.6]
//   [gate.5] release store in Open                        · [gate.2]
//   [gate.6] release addition in Leave                    · [gate.4]

#ifndef PTAGE_GATE_H_
#define PTAGE_GATE_H_

#include <cstdint>

#include "ptage/config.h"
#include "ptage/once.h"

namespace ptage {

template <unsigned kShards = kThreadLines>
class Gate {
 public:
  // Where a thread was counted; false if it is not inside.
  class Pass {
   public:
    explicit operator bool() const { return shard_ != kOutside; }

   private:
    friend class Gate;
    static constexpr unsigned kOutside = ~0u;
    explicit Pass(unsigned shard) : shard_(shard) {}
    unsigned shard_;
  };

  Gate() : closed_(0u) {}
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  // Goes inside: not while the gate is closed, or about to be. Wait-free.
  // `hint` differs between threads that run at the same time, as far as it can.
  [[nodiscard]] Pass TryEnter(unsigned hint = ThreadHint());
  // Precondition: `pass` is of a TryEnter, and was not used.
  void Leave(Pass pass);

  // Calls `wait()` again and again, as long as anyone is inside.
  template <class Wait>
  void Close(Wait&& wait);
  // Lets threads in again. Precondition: the caller has closed it.
  void Open();

 private:
  // A line each, or threads would slow each other down.
  struct alignas(64) Shard {
    Shard() : inside(0u) {}
    Cell<std::uint32_t> inside;
  };

  Shard shards_[kShards];
  alignas(64) Cell<std::uint32_t> closed_;
};

// ---------------------------------------------------------------------------

template <unsigned kShards>
auto Gate<kShards>::TryEnter(unsigned hint) -> Pass {
  const unsigned shard = hint % kShards;
  // Were one of these four weaker:
  //   here: counts itself (not out yet) | closer: closes (not out yet)
  //   here: reads: open                 | closer: reads: nobody inside
  // and both go on.
  // [gate.1] sequentially consistent, pairs with [gate.4]: the closer finds
  // this thread inside, or it finds the gate closed below.
  FetchAdd(shards_[shard].inside, 1u, kSeqCst);
  // [gate.2] sequentially consistent, pairs with [gate.3]; and as an acquire
  // with [gate.5].
  if (ReadOnce(closed_, kSeqCst) == 0) return Pass(shard);
  Leave(Pass(shard));
  return Pass(Pass::kOutside);
}

template <unsigned kShards>
void Gate<kShards>::Leave(Pass pass) {
  PTAGE_ASSERT(static_cast<bool>(pass));
  // [gate.6] release, pairs with [gate.4]: what was done inside is seen by who
  // has closed the gate.
  FetchAdd(shards_[pass.shard_].inside, ~std::uint32_t{0}, kRelease);
}

template <unsigned kShards>
template <class Wait>
void Gate<kShards>::Close(Wait&& wait) {
  // [gate.3] sequentially consistent, pairs with [gate.2]: who comes after this
  // finds it closed, or is found inside below.
  WriteOnce(closed_, 1u, kSeqCst);
  for (Shard& shard : shards_) {
    // [gate.4] sequentially consistent, pairs with [gate.1]; and as an acquire
    // with [gate.6]: of each that left, as additions continue the release
    // sequences of those before.
    while (ReadOnce(shard.inside, kSeqCst) != 0) wait();
  }
}

template <unsigned kShards>
void Gate<kShards>::Open() {
  // [gate.5] release, pairs with [gate.2]: who enters sees what was done while
  // it was closed.
  WriteOnce(closed_, 0u, kRelease);
}

}  // namespace ptage

#endif  // PTAGE_GATE_H_
