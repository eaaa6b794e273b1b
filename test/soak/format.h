// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A format that tells who reads its words: EPT, whose question "present?" the
// shipped code asks of every entry that it examines, after it has read the word
// and before it decides. There a scan is recorded, and there it is hit.

#ifndef PTAGE_TEST_SOAK_FORMAT_H_
#define PTAGE_TEST_SOAK_FORMAT_H_

#include <type_traits>

#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "test/soak/actor.h"
#include "test/soak/token.h"

namespace ptage::soak {

struct SoakFormat : Ept {
  static constexpr bool IsPresent(Word word) {
    const bool present = Ept::IsPresent(word);
    if (!std::is_constant_evaluated()) Read(word, present);
    return present;
  }
  static Token TokenOf(Word word) { return Token(FrameOf(word).value); }

 private:
  static void Read(Word word, bool present) {
    Actor* const actor = this_actor;
    if (actor == nullptr) return;
    Scan* const scan = actor->scan;
    if (scan == nullptr) return;
    if (present) scan->Saw(TokenOf(word));
    if (!actor->handling && --actor->fuse == 0) actor->BefallWalk();
  }
};

static_assert(SpteFormat<SoakFormat>);

using F = SoakFormat;

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_FORMAT_H_
