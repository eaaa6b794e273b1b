// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Flushing translations without interrupts: a CPU says when it uses the pages
// in question, looks from time to time whether somebody wants it to forget what
// it has cached, and says so when it has.
//
// Contract
//   A CPU calls Enter before it uses pages whose entries others change, Poll in
//   between, and Leave when it stops for a while, and when it may wait for
//   another CPU: in a fault above all. Between Leave and Enter it uses none of
//   them. Any CPU may Flush, in between or not.
//
//   A CPU that is outside is not waited for: it forgets everything when it
//   enters. So whoever waits inside Flush waits for no CPU that waits for him.
//   One that waits inside Flush answers others meanwhile.
//
//   Why nobody is missed. Flush takes the entry away before it looks whether a
//   CPU is inside, and a CPU says that it is inside before it forgets what it
//   has cached and reads entries again:
//     flusher: changes the entry      | CPU: says "inside"
//     flusher: reads "outside"        | CPU: drops translations
//                                     | CPU: reads the entry, changed
//   Were either side's two steps swapped, the CPU could use the old entry, and
//   not be waited for. Each side's first step is a locked instruction, so that
//   neither is overtaken by the second.
//
//   Progress: Enter, Leave and Poll wait-free; Flush waits for the next Poll or
//   Leave of each CPU that is inside.
//
// Sites (order · partner)
//   [cpus.1] sequentially consistent store in Enter     · [cpus.2]
//   [cpus.2] sequentially consistent load in Flush      · [cpus.1], [cpus.3]
//   [cpus.3] release stores in Poll and Leave           · [cpus.2]
//   [cpus.4] sequentially consistent addition in Flush  · [cpus.5]
//   [cpus.5] acquire loads in Enter and Poll            · [cpus.4]

#ifndef PTAGE_EXAMPLES_BARE_METAL_CPUS_H_
#define PTAGE_EXAMPLES_BARE_METAL_CPUS_H_

#include <cstdint>

#include "examples/bare_metal/machine.h"
#include "ptage/once.h"
#include "ptage/types.h"

// The flush policy of a ptage::PageTable.
class Cpus {
 public:
  void Enter() {
    Cell& answered = answered_[CpuNumber()].flushes;
    // [cpus.5] acquire, pairs with [cpus.4].
    const std::uint64_t flushes = ptage::ReadOnce(flushes_, ptage::kAcquire);
    // [cpus.1] sequentially consistent, pairs with [cpus.2].
    ptage::WriteOnce(answered, flushes, ptage::kSeqCst);
    DropTranslations();
  }

  void Poll() {
    Cell& answered = answered_[CpuNumber()].flushes;
    // Only this CPU writes it.
    const std::uint64_t mine = ptage::ReadOnce(answered, ptage::kRelaxed);
    // [cpus.5] acquire, pairs with [cpus.4].
    const std::uint64_t flushes = ptage::ReadOnce(flushes_, ptage::kAcquire);
    if (mine == kOutside || mine == flushes) return;
    DropTranslations();
    // [cpus.3] release, pairs with [cpus.2]: what was written through old
    // translations is visible to who has flushed them.
    ptage::WriteOnce(answered, flushes, ptage::kRelease);
  }

  void Leave() {
    // [cpus.3] release, pairs with [cpus.2].
    ptage::WriteOnce(answered_[CpuNumber()].flushes, kOutside, ptage::kRelease);
  }

  [[nodiscard]] bool IsInside() const {
    return ptage::ReadOnce(answered_[CpuNumber()].flushes, ptage::kRelaxed) !=
           kOutside;
  }

  // As ptage::Flusher says.
  void Flush(ptage::GfnRange range) {
    // [cpus.4] sequentially consistent, pairs with [cpus.5]: who learns of this
    // flush finds the entries as they are now.
    const std::uint64_t wanted =
        ptage::FetchAdd(flushes_, std::uint64_t{1}, ptage::kSeqCst) + 1;
    DropMine(range);
    for (unsigned cpu = 0; cpu < kCpus; ++cpu) {
      if (cpu == CpuNumber()) continue;
      // [cpus.2] sequentially consistent, pairs with [cpus.1] and [cpus.3].
      while (ptage::ReadOnce(answered_[cpu].flushes, ptage::kSeqCst) < wanted) {
        Poll();
        ptage::SpinPause();
      }
    }
  }

 private:
  using Cell = ptage::Cell<std::uint64_t>;

  // More than any number of flushes.
  static constexpr std::uint64_t kOutside = ~std::uint64_t{0};

  static void DropMine(ptage::GfnRange range) {
    constexpr std::uint64_t kPagesWorthTheirWhile = 16;
    if (range.Frames() > kPagesWorthTheirWhile) {
      DropTranslations();
      return;
    }
    for (std::uint64_t i = 0; i < range.Frames(); ++i) {
      DropTranslation((range.begin + i).value << 12);
    }
  }

  struct alignas(64) Answer {
    // The number of flushes that the CPU has answered, or kOutside.
    Cell flushes{kOutside};
  };

  Cell flushes_{0};
  Answer answered_[kCpus];
};

#endif  // PTAGE_EXAMPLES_BARE_METAL_CPUS_H_
