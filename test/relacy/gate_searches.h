// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of gate.h.

#ifndef PTAGE_TEST_RELACY_GATE_SEARCHES_H_
#define PTAGE_TEST_RELACY_GATE_SEARCHES_H_

#include <cstdint>

#include "ptage/gate.h"
#include "ptage/once.h"
#include "test/relacy/search.h"

namespace ptage::relacy {

// A thread closes the gate, as often as `kTimes`, and the others pass through.
template <int kThreads, int kTimes = 1>
struct Passers : rl::test_suite<Passers<kThreads, kTimes>, kThreads> {
  static constexpr Plan kPlan =
      kThreads == 2 ? kEveryInterleaving : UpToPreemptions(3);

  Gate<2> gate;
  // Of who closes the gate, and of those inside.
  Plain<int> his{0};
  Plain<int> theirs[kThreads];
  bool closed = false;
  int inside = 0;
  int passed[kThreads] = {};

  void before() {
    for (Plain<int>& one : theirs) one.Set(0);
  }
  void thread(unsigned index) {
    for (int i = 0; i < kTimes; ++i) {
      if (index == 0) {
        Close();
      } else {
        Pass(index);
      }
    }
  }
  void Close() {
    gate.Close([] { SpinPause(); });
    Require(inside == 0, "nobody is inside a closed gate");
    closed = true;
    his.Set(his.Get() + 1);
    int sum = 0;
    for (const Plain<int>& one : theirs) sum += one.Get();
    (void)sum;
    closed = false;
    gate.Open();
  }
  void Pass(unsigned index) {
    const auto pass = gate.TryEnter();
    if (!pass) return;
    Require(!closed, "nobody enters a closed gate");
    ++inside;
    (void)his.Get();
    theirs[index].Set(theirs[index].Get() + 1);
    ++passed[index];
    --inside;
    gate.Leave(pass);
  }
  void after() {
    Require(his.Get() == kTimes, "who closes it has his turns");
    for (int i = 1; i < kThreads; ++i) {
      Require(theirs[i].Get() == passed[i], "what was written inside stays");
    }
    const auto pass = gate.TryEnter();
    Require(static_cast<bool>(pass), "an open gate lets everybody in");
    gate.Leave(pass);
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_GATE_SEARCHES_H_
