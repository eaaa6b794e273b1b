// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a replacement policy must say: which page goes next, and which it wants
// aged first.
//
// Contract
//   One thread, the pager's. The policy knows pages in memory by their numbers,
//   and hears of accesses in two ways only: from faults (Touched), and from
//   passes of aging that it asked for (Age). Aging has a price: each page that
//   is found young loses its mapping, and costs a fault when it is next used.

#ifndef PTAGE_EXAMPLES_FAR_MEMORY_POLICY_H_
#define PTAGE_EXAMPLES_FAR_MEMORY_POLICY_H_

#include <concepts>
#include <optional>

#include "absl/strings/string_view.h"
#include "ptage/types.h"

namespace ptage::far_memory {

enum class Touch {
  kLoaded,  // the page came into memory
  kAgain,   // it is there, and was used since it was aged or loaded
};

//   Touched(gfn, touch)  a fault on the page.
//   ToAge()              pages to be aged before the next victim is picked;
//                        empty if none are.
//   Age(range, young)    they were: bit i is for the page range.begin + i.
//   PickVictim()         a page in memory, which the policy then takes for
//                        gone; none if it wants more aged. Repeated with ToAge
//                        and Age, it finds one if any page is there.
//   Forget(gfn)          the page is gone without that.
template <class P>
concept ReplacementPolicy =
    requires(P& policy, Gfn gfn, Touch touch, GfnRange range, Bitmap young) {
      { P::kName } -> std::convertible_to<absl::string_view>;
      policy.Touched(gfn, touch);
      { policy.ToAge() } -> std::same_as<GfnRange>;
      policy.Age(range, young);
      { policy.PickVictim() } -> std::same_as<std::optional<Gfn>>;
      policy.Forget(gfn);
    };

}  // namespace ptage::far_memory

#endif  // PTAGE_EXAMPLES_FAR_MEMORY_POLICY_H_
