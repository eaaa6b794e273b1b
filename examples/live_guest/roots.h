// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The address spaces of a guest, as they show up in its CPUs.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_ROOTS_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_ROOTS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "examples/live_guest/registers.h"
#include "ptage/memory.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/once.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"

namespace ptage::live_guest {

// Roots that were seen in a CPU. A process that ended leaves its root behind,
// whose frame may hold anything by now: a root is believed only as long as its
// upper half is made of entries that loaded roots had lately.
//
// Linux (and whoever else maps his kernel into every process) gives all roots
// the same entries in the upper half; with page-table isolation that of the
// process's own table has some of them. A freed root keeps these until it is
// used for something else, but has no entries of a process any more.
class Roots {
 public:
  // So many calls of See count as lately.
  static constexpr std::uint64_t kLately = 1000;

  // Adds what the CPUs have loaded, and notes what it looks like.
  template <ForeignMemory M>
  void See(const std::vector<CpuRegisters>& cpus, const M& memory) {
    ++now_;
    loaded_.clear();
    for (const CpuRegisters& cpu : cpus) {
      const Paging paging = cpu.GetPaging();
      if (paging != Paging::kFourLevels && paging != Paging::kFiveLevels) {
        continue;
      }
      const Pfn root = cpu.Root();
      const Root* const table = At(memory, root);
      if (table == nullptr) continue;
      loaded_.insert(root);
      all_.insert(root);
      for (unsigned i = kEntries / 2; i < kEntries; ++i) {
        const std::uint64_t frame = FrameIn(*table, i);
        if (frame != 0) upper_[{i, frame}] = now_;
      }
    }
  }

  // Forgets roots that are no roots any more, and returns how many these were.
  template <ForeignMemory M>
  std::size_t DropStale(const M& memory) {
    std::erase_if(
        upper_, [&](const auto& seen) { return now_ - seen.second > kLately; });
    return std::erase_if(all_, [&](Pfn root) {
      return !loaded_.contains(root) && !LooksAlive(memory, root);
    });
  }

  // In the order of frames.
  [[nodiscard]] const std::set<Pfn>& all() const { return all_; }

 private:
  using Root = Table<X86_64>;
  static constexpr unsigned kEntries = kEntriesPerTable<X86_64>;

  template <ForeignMemory M>
  static const Root* At(const M& memory, Pfn root) {
    return reinterpret_cast<const Root*>(
        memory.At(root.value << X86_64::kPageBits, sizeof(Root)));
  }
  // The frame of an entry; 0 if it is not present.
  static std::uint64_t FrameIn(const Root& root, unsigned entry) {
    const std::uint64_t word = ReadOnce(root.entries[entry], kRelaxed);
    return X86_64::IsPresent(word) ? X86_64::FrameOf(word).value : 0;
  }
  template <ForeignMemory M>
  bool LooksAlive(const M& memory, Pfn root) const {
    const Root* const table = At(memory, root);
    if (table == nullptr) return false;
    bool same = false;
    for (unsigned i = kEntries / 2; i < kEntries; ++i) {
      const std::uint64_t frame = FrameIn(*table, i);
      if (frame == 0) continue;
      if (!upper_.contains({i, frame})) return false;
      same = true;
    }
    return same;
  }

  std::set<Pfn> all_;
  std::set<Pfn> loaded_;  // at the last call of See
  // Index and frame of entries of loaded roots, and when they were last seen.
  std::map<std::pair<unsigned, std::uint64_t>, std::uint64_t> upper_;
  std::uint64_t now_ = 0;
};

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_ROOTS_H_
