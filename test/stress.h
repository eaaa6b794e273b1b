// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Threads for stress tests, which are most telling under the thread sanitizer.

#ifndef PTAGE_TEST_STRESS_H_
#define PTAGE_TEST_STRESS_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "ptage/once.h"

namespace ptage::test {

// How long a stress test keeps its threads busy.
inline constexpr std::chrono::milliseconds kStressTime{300};

// Tells threads to stop. Orders nothing, or it would hide races.
class StopSign {
 public:
  StopSign() : raised_(0u) {}
  void Raise() { WriteOnce(raised_, 1u, kRelaxed); }
  [[nodiscard]] bool Raised() const { return ReadOnce(raised_, kRelaxed) != 0; }

 private:
  Cell<std::uint32_t> raised_;
};

// Runs each body in a thread of its own until it returns.
inline void RunThreads(const std::vector<std::function<void()>>& bodies) {
  std::vector<std::thread> threads;
  threads.reserve(bodies.size());
  for (const auto& body : bodies) threads.emplace_back(body);
  for (std::thread& thread : threads) thread.join();
}

// Repeats each body in a thread of its own for kStressTime. Every fourth turn
// it gives the processor away, so that turns mix on machines with few.
inline void Stress(const std::vector<std::function<void()>>& bodies) {
  StopSign stop;
  std::vector<std::thread> threads;
  threads.reserve(bodies.size());
  for (const auto& body : bodies) {
    threads.emplace_back([&stop, &body] {
      for (std::uint64_t turn = 1; !stop.Raised(); ++turn) {
        body();
        if (turn % 4 == 0) std::this_thread::yield();
      }
    });
  }
  std::this_thread::sleep_for(kStressTime);
  stop.Raise();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_STRESS_H_
