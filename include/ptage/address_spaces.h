// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Several address spaces of one guest, each with direct tables of its own: as a
// processor in system-management mode sees other memory than one that is not.
// They share memory, reclaimer and flusher, and are asked and zapped as one.
//
// Contract
//   As tdp_mmu.h says of each. A question is answered for all spaces, one after
//   the other; a frame that is mapped in several is young if it is in one. An
//   entry that is present during the whole call is examined in its space.
//
//   A CPU that goes from one space to another keeps nothing of the first that
//   is not tagged as its own; and whoever zaps flushes what CPUs have of all
//   spaces, of those that they are not in too (vm.h, sim/space_cache.h).

#ifndef PTAGE_ADDRESS_SPACES_H_
#define PTAGE_ADDRESS_SPACES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "ptage/config.h"
#include "ptage/hold.h"
#include "ptage/mmu.h"
#include "ptage/page_table.h"
#include "ptage/prune.h"
#include "ptage/types.h"

namespace ptage {

// `Mmu` is a TdpMmu.
template <class Mmu, std::size_t kSpaces>
class AddressSpaces : public AgeQuestions<AddressSpaces<Mmu, kSpaces>> {
  static_assert(kSpaces > 0);

 public:
  using Walk = typename Mmu::Walk;
  static constexpr bool kFastAging = Mmu::kFastAging;

  // `parts` are what an Mmu is made of, and outlive all. Check valid().
  template <class... Parts>
  explicit AddressSpaces(Parts&... parts)
      : AddressSpaces(std::make_index_sequence<kSpaces>(), parts...) {}

  // False if there was no memory for a root.
  [[nodiscard]] bool valid() const {
    bool valid = true;
    for (const Mmu& space : spaces_) valid &= space.valid();
    return valid;
  }
  // To fault in, to switch to, and to change alone. Precondition: number <
  // kSpaces.
  [[nodiscard]] Mmu& operator[](std::size_t number) {
    PTAGE_ASSERT(number < kSpaces);
    return spaces_[number];
  }

  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output) {
    AgeResult result;
    for (Mmu& space : spaces_) {
      result |= space.Age(range, action, mode, output);
    }
    return result;
  }

  // For an Mmu that has it.
  AgeResult AgeSkippingCold(GfnRange range, Pruning pruning, AgeAction action,
                            const AgeOutput& output) {
    AgeResult result;
    for (Mmu& space : spaces_) {
      result |= space.AgeSkippingCold(range, pruning, action, output);
    }
    return result;
  }

  // These return the sum of what each returns.
  std::uint64_t Zap(const Walk& walk, GfnRange range, ZapFlush flush,
                    ZapSink sink) {
    std::uint64_t zapped = 0;
    for (Mmu& space : spaces_) zapped += space.Zap(walk, range, flush, sink);
    return zapped;
  }
  std::uint64_t ZapRecursive(const Walk& walk, GfnRange range, ZapSink sink) {
    std::uint64_t zapped = 0;
    for (Mmu& space : spaces_) zapped += space.ZapRecursive(walk, range, sink);
    return zapped;
  }
  std::uint64_t RemoveTables(const Walk& walk, GfnRange range, ZapSink sink) {
    std::uint64_t removed = 0;
    for (Mmu& space : spaces_) {
      removed += space.RemoveTables(walk, range, sink);
    }
    return removed;
  }
  // Of all spaces; not kTaken: some leaves may be held all the same.
  template <class Held>
  TakeOutcome Freeze(const Walk& walk, GfnRange page, Held& held) {
    TakeOutcome outcome = TakeOutcome::kTaken;
    for (Mmu& space : spaces_) {
      if (outcome == TakeOutcome::kTaken) {
        outcome = space.Freeze(walk, page, held);
      }
    }
    return outcome;
  }
  // `flusher…`: as of Mmu, nothing or another one.
  template <class... Fl>
  AgeCounts ClearDirty(const Walk& walk, GfnRange range,
                       const AgeOutput& output, Fl&... flusher) {
    AgeCounts counts;
    for (Mmu& space : spaces_) {
      counts += space.ClearDirty(walk, range, output, flusher...);
    }
    return counts;
  }
  template <class... Fl>
  AgeCounts WriteProtect(const Walk& walk, GfnRange range,
                         const AgeOutput& output, Fl&... flusher) {
    AgeCounts counts;
    for (Mmu& space : spaces_) {
      counts += space.WriteProtect(walk, range, output, flusher...);
    }
    return counts;
  }
  // In all spaces; the sum.
  std::uint64_t LiftProtection(const Walk& walk, GfnRange range) {
    std::uint64_t lifted = 0;
    for (Mmu& space : spaces_) lifted += space.LiftProtection(walk, range);
    return lifted;
  }

 private:
  template <std::size_t... kNumbers, class... Parts>
  explicit AddressSpaces(std::index_sequence<kNumbers...>, Parts&... parts)
      : spaces_{((void)kNumbers, Mmu(parts...))...} {}

  std::array<Mmu, kSpaces> spaces_;
};

}  // namespace ptage

#endif  // PTAGE_ADDRESS_SPACES_H_
