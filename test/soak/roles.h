// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the threads of a round do until they are told to stop, and what their
// signal handler does.

#ifndef PTAGE_TEST_SOAK_ROLES_H_
#define PTAGE_TEST_SOAK_ROLES_H_

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/types.h"
#include "test/soak/actor.h"
#include "test/soak/faults.h"
#include "test/soak/token.h"
#include "test/soak/world.h"
#include "test/stress.h"

namespace ptage::soak {

// Makes an actor the calling thread's, and counts how often the thread lost its
// CPU against its will meanwhile.
class Acting {
 public:
  explicit Acting(Actor& actor) : actor_(actor), before_(Preemptions()) {
    this_actor = &actor;
  }
  ~Acting() {
    this_actor = nullptr;
    actor_.tallies.faults.Add(Fault::kLostCpu, Preemptions() - before_);
  }
  Acting(const Acting&) = delete;
  Acting& operator=(const Acting&) = delete;

 private:
  static std::uint64_t Preemptions() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    return static_cast<std::uint64_t>(usage.ru_nivcsw);
  }
  Actor& actor_;
  const std::uint64_t before_;
};

// A random question about a random page.
template <class S>
void LookAtRandom(World<S>& world, Actor& actor) {
  const auto page = static_cast<unsigned>(actor.Below(kPages));
  const std::uint64_t kind = actor.Below(8);
  world.Look(actor, actor.own_scan, actor.tallies, page,
             kind < 6 ? AgeAction::kTestAndClear : AgeAction::kTest,
             kind % 4 == 0 ? AgeMode::kSlow : AgeMode::kFastOnly);
  WriteOnce(actor.shown_visits, actor.tallies.visits, kRelaxed);
}

// Up to four questions in one walk.
template <class S>
void ReadOnceThrough(World<S>& world, Actor& actor) {
  const typename World<S>::Walk walk(world.domain(), WalkEntry::kWait);
  for (std::uint64_t i = 1 + actor.Below(4); i > 0; --i) {
    LookAtRandom(world, actor);
  }
}

template <class S>
void Read(World<S>& world, Actor& actor, const test::StopSign& stop) {
  const Acting acting(actor);
  while (!stop.Raised()) ReadOnceThrough(world, actor);
}

template <class S>
void Write(World<S>& world, Actor& actor, const test::StopSign& stop) {
  const Acting acting(actor);
  while (!stop.Raised()) world.Update(actor, world.GroupToUpdate(actor));
}

// A vCPU.
template <class S>
void Touch(World<S>& world, Actor& actor, const test::StopSign& stop) {
  const Acting acting(actor);
  while (!stop.Raised()) {
    const auto group = static_cast<unsigned>(actor.Below(kGroups));
    for (int i = 0; i < 16; ++i) world.Touch(actor, group);
    if (actor.OneIn(4)) sched_yield();
  }
}

// Readers that end and are followed by others, one after the other.
template <class S>
void ReadInTurns(World<S>& world, Actor& actor, const test::StopSign& stop) {
  while (!stop.Raised()) {
    Actor next(actor.random());
    std::thread([&] {
      const Acting acting(next);
      for (int i = 0; i < 16; ++i) ReadOnceThrough(world, next);
    }).join();
    actor.tallies += next.tallies;
    actor.tallies += next.handler_tallies;
    actor.tallies.faults.Add(Fault::kThreadExit);
    WriteOnce(actor.shown_visits, actor.tallies.visits, kRelaxed);
  }
}

// A reader whose thread ends inside a walk; `section` is what it leaves.
template <class S>
void Die(World<S>& world, Actor& actor, const test::StopSign& stop,
         Domain::Section& section) {
  const Acting acting(actor);
  try {
    while (!stop.Raised()) {
      section = world.domain().Begin();
      if (!static_cast<bool>(section)) continue;
      LookAtRandom(world, actor);
      world.domain().End(section);
    }
    section = Domain::Section();
  } catch (const Died&) {
  }
}

// Replaces tables, makes writers burst, sends signals to `victims`, and has the
// reclaimer go on.
template <class S>
void Disturb(World<S>& world, Actor& actor, const test::StopSign& stop,
             const std::vector<pthread_t>& victims) {
  const Acting acting(actor);
  while (!stop.Raised()) {
    const auto group = static_cast<unsigned>(actor.Below(kGroups));
    switch (actor.Below(4)) {
      case 0:
        world.Burst(200, group);
        break;
      case 1:
        world.Replace(actor, group);
        break;
      case 2:
        pthread_kill(victims[actor.Below(victims.size())], kWalkSignal);
        break;
      default:
        break;
    }
    world.domain().Poll();
    Actor::Sleep(100 + actor.Below(400));
  }
}

// The world that handlers walk; null outside of rounds.
template <class S>
inline World<S>* handlers_world = nullptr;

template <class S>
void WalkInHandler(int) {
  Actor* const actor = this_actor;
  if (actor == nullptr || actor->handling || handlers_world<S> == nullptr) {
    return;
  }
  const int error = errno;
  actor->handling = true;
  World<S>& world = *handlers_world<S>;
  {
    if (actor->depth > 0) {
      actor->handler_tallies.faults.Add(Fault::kSignalInSection);
    }
    const typename World<S>::Walk walk(world.domain());
    if (walk) {
      const auto page = static_cast<unsigned>(actor->handler_random() % kPages);
      world.Look(*actor, actor->handler_scan, actor->handler_tallies, page,
                 AgeAction::kTestAndClear, AgeMode::kFastOnly);
    }
  }
  actor->handling = false;
  errno = error;
}

}  // namespace ptage::soak

#endif  // PTAGE_TEST_SOAK_ROLES_H_
