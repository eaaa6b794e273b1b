// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What becomes of an EpochDomain's walks and places when threads end, signals
// arrive, processes fork, and the system forbids the barrier. The table is in
// docs/reclamation.md.

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/once/thread.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "test/reclaim/epoch_domains.h"

namespace ptage {
namespace {

using test::Object;

template <EpochReaders kReaders>
using Readers = std::integral_constant<EpochReaders, kReaders>;

template <class T>
class EpochThreadTest : public ::testing::Test {
 protected:
  static constexpr EpochOptions kOptions{.readers = T::value};
};
using BothReaders = ::testing::Types<Readers<EpochReaders::kFastest>,
                                     Readers<EpochReaders::kExchange>>;
TYPED_TEST_SUITE(EpochThreadTest, BothReaders);

// A step that threads of a test wait for.
class Steps {
 public:
  void Reach(std::uint32_t step) { WriteOnce(step_, step, kRelease); }
  void Await(std::uint32_t step) const {
    while (ReadOnce(step_, kAcquire) < step) std::this_thread::yield();
  }

 private:
  Cell<std::uint32_t> step_{0u};
};

// --- Threads that end.

TYPED_TEST(EpochThreadTest, AThreadThatEndsLeavesItsPlace) {
  EpochDomain<1> domain(this->kOptions);
  for (int i = 0; i < 20; ++i) {
    std::thread([&] {
      EXPECT_TRUE(static_cast<bool>(LocklessWalk(domain)));
    }).join();
  }
  EXPECT_TRUE(domain.Register());
  EXPECT_EQ(domain.stats().ended_by_exit, 0u);
}

TYPED_TEST(EpochThreadTest, AWalkEndsWithItsThreadAndIsCounted) {
  EpochDomain<3> domain(this->kOptions);
  Object object;
  Steps steps;
  std::thread thread([&] {
    static_cast<void>(domain.Begin());
    static_cast<void>(domain.Begin());
    steps.Reach(1);
    steps.Await(2);
  });
  steps.Await(1);
  domain.Retire(object.retired);
  domain.Poll();
  EXPECT_EQ(object.freed, 0);
  steps.Reach(2);
  thread.join();
  domain.Poll();
  EXPECT_EQ(object.freed, 1);
  EXPECT_EQ(domain.stats().ended_by_exit, 2u);
  EXPECT_TRUE(static_cast<bool>(LocklessWalk(domain)));
}

// Sanitizers watch the C library's way out of a thread.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define PTAGE_TEST_SANITIZED
#endif
#elif defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define PTAGE_TEST_SANITIZED
#endif
#if !defined(PTAGE_TEST_SANITIZED)
// The kernel ends it, and nobody else learns of it.
TYPED_TEST(EpochThreadTest, AThreadThatIsKilledInsideAWalkHoldsThingsBack) {
  std::vector<Object> objects(3);
  {
    EpochDomain<2> domain(this->kOptions);
    std::thread([&] {
      static_cast<void>(domain.Begin());
      syscall(SYS_exit, 0);
    }).join();
    for (Object& object : objects) domain.Retire(object.retired);
    for (std::uint64_t looks = 1; looks <= 3; ++looks) {
      domain.Poll();
      EXPECT_EQ(domain.stats().held_back, looks);
    }
    EXPECT_EQ(domain.stats().Held(), 3u);
    // New walks are not hindered.
    EXPECT_TRUE(static_cast<bool>(LocklessWalk(domain)));
  }
  for (const Object& object : objects) EXPECT_EQ(object.freed, 1);
}
#endif

TYPED_TEST(EpochThreadTest, ADomainMayBeDestroyedBeforeItsThreadsEnd) {
  std::optional<EpochDomain<1>> domain(std::in_place, this->kOptions);
  Steps steps;
  std::thread thread([&] {
    {
      const LocklessWalk walk(*domain);
    }
    steps.Reach(1);
    steps.Await(2);
    // Another domain, at the same address.
    EXPECT_TRUE(static_cast<bool>(LocklessWalk(*domain)));
  });
  steps.Await(1);
  domain.emplace(this->kOptions);
  steps.Reach(2);
  thread.join();
  EXPECT_TRUE(domain->Register());
  domain->Unregister();
  std::thread last([&] {
    {
      const LocklessWalk walk(*domain);
    }
    steps.Reach(3);
    steps.Await(4);
  });
  steps.Await(3);
  domain.reset();
  steps.Reach(4);
  last.join();
}

// Walks once when its thread ends.
template <class Domain>
struct WalksAtExit {
  Domain* domain = nullptr;
  ~WalksAtExit() {
    if (domain != nullptr) {
      EXPECT_TRUE(static_cast<bool>(LocklessWalk(*domain)));
    }
  }
};

TYPED_TEST(EpochThreadTest, DestructorsOfAThreadMayWalk) {
  using Domain = EpochDomain<1>;
  static Domain* domain_of_the_key;
  Domain domain(this->kOptions);
  domain_of_the_key = &domain;
  // Made after the domain's own, so that it runs after it.
  pthread_key_t key;
  ASSERT_EQ(pthread_key_create(&key,
                               [](void*) {
                                 const LocklessWalk walk(*domain_of_the_key);
                                 EXPECT_TRUE(static_cast<bool>(walk));
                               }),
            0);
  for (int i = 0; i < 3; ++i) {
    std::thread([&] {
      static thread_local WalksAtExit<Domain> at_exit;
      at_exit.domain = &domain;
      pthread_setspecific(key, &domain);
      {
        const LocklessWalk walk(domain);
      }
    }).join();
  }
  pthread_key_delete(key);
  EXPECT_TRUE(domain.Register());
}

// --- Signals.

// What the handler does.
std::function<void()>* in_handler = nullptr;
Cell<std::uint32_t> handled{0u};

class ScopedHandler {
 public:
  explicit ScopedHandler(std::function<void()> function)
      : function_(std::move(function)) {
    in_handler = &function_;
    WriteOnce(handled, 0u, kRelaxed);
    std::signal(SIGUSR1, [](int) {
      (*in_handler)();
      FetchAdd(handled, 1u, kRelaxed);
    });
  }
  ~ScopedHandler() { std::signal(SIGUSR1, SIG_DFL); }

 private:
  std::function<void()> function_;
};

TYPED_TEST(EpochThreadTest, ASignalHandlerMayWalkInsideAWalk) {
  EpochDomain<2> domain(this->kOptions);
  Object object;
  const ScopedHandler handler([&] {
    const LocklessWalk walk(domain);
    EXPECT_TRUE(static_cast<bool>(walk));
  });
  {
    const LocklessWalk walk(domain);
    std::raise(SIGUSR1);
    domain.Retire(object.retired);
    domain.Poll();
    EXPECT_EQ(object.freed, 0);  // the handler's walk did not end ours
  }
  EXPECT_EQ(ReadOnce(handled, kRelaxed), 1u);
  domain.Poll();
  EXPECT_EQ(object.freed, 1);
}

TYPED_TEST(EpochThreadTest, ASignalHandlerMayBeTheFirstInItsThreadToWalk) {
  EpochDomain<1> domain(this->kOptions);
  const ScopedHandler handler(
      [&] { EXPECT_TRUE(static_cast<bool>(LocklessWalk(domain))); });
  for (int i = 0; i < 3; ++i) {
    std::thread([] { std::raise(SIGUSR1); }).join();
    EXPECT_EQ(ReadOnce(handled, kRelaxed), static_cast<unsigned>(i) + 1);
  }
}

// A lock that lets a test look while it is held.
class WatchedLock {
 public:
  void Lock() {
    lock_.Lock();
    if (while_held != nullptr) while_held();
  }
  void Unlock() { lock_.Unlock(); }
  static inline void (*while_held)() = nullptr;

 private:
  SpinLock lock_;
};

TYPED_TEST(EpochThreadTest, ASignalHandlerMayWalkWhileALockIsHeld) {
  EpochDomain<4, WatchedLock> domain(this->kOptions);
  const ScopedHandler handler(
      [&] { EXPECT_TRUE(static_cast<bool>(LocklessWalk(domain))); });
  Object object;
  WatchedLock::while_held = [] { std::raise(SIGUSR1); };
  domain.Retire(object.retired);
  domain.Poll();
  WatchedLock::while_held = nullptr;
  EXPECT_GE(ReadOnce(handled, kRelaxed), 3u);
  EXPECT_EQ(object.freed, 1);
}

// Signals arrive at any instruction of Begin, End and the claim of a place, in
// several domains at once, of which some share a slot of the thread.
TYPED_TEST(EpochThreadTest, SignalsMayArriveAtAnyTime) {
  constexpr std::size_t kDomains = 10;
  // Two walks that nest and the handler's; and one place that the handler took
  // while the thread was taking one.
  std::vector<std::optional<EpochDomain<4>>> domains(kDomains);
  for (auto& domain : domains) domain.emplace(this->kOptions);
  static thread_local std::size_t turn = 0;
  Cell<std::uint32_t> refused(0u);
  const auto walk_somewhere = [&] {
    auto& domain = *domains[++turn % kDomains];
    const LocklessWalk walk(domain);
    if (!static_cast<bool>(walk)) FetchAdd(refused, 1u, kRelaxed);
  };
  const ScopedHandler handler(walk_somewhere);
  for (int i = 0; i < 100; ++i) {
    Cell<std::uint32_t> done(0u);
    std::thread walker([&] {
      turn = static_cast<std::size_t>(i);
      for (std::size_t j = 0; j < 3000; ++j) {
        auto& domain = *domains[j / 100 % kDomains];
        const LocklessWalk outer(domain);
        const LocklessWalk inner(domain);
        EXPECT_TRUE(static_cast<bool>(inner));
      }
      WriteOnce(done, 1u, kRelease);
      while (ReadOnce(done, kAcquire) != 2) {
      }
    });
    const pthread_t thread = walker.native_handle();
    while (ReadOnce(done, kAcquire) != 1) pthread_kill(thread, SIGUSR1);
    WriteOnce(done, 2u, kRelease);
    walker.join();
  }
  EXPECT_GT(ReadOnce(handled, kRelaxed), 0u);
  EXPECT_EQ(ReadOnce(refused, kRelaxed), 0u);
  for (auto& domain : domains) {
    // Every walk has ended, and every place is free.
    domain->Synchronize();
    EXPECT_EQ(domain->stats().ended_by_exit, 0u);
    const LocklessWalk first(*domain);
    const LocklessWalk second(*domain);
    const LocklessWalk third(*domain);
    EXPECT_TRUE(static_cast<bool>(LocklessWalk(*domain)));
  }
}

#if defined(__x86_64__) && !defined(PTAGE_TEST_SANITIZED)

// The processor stops after each instruction of Begin, and at one of them a
// handler walks in another domain: the walk must be in its own all the same.
TYPED_TEST(EpochThreadTest, AHandlerInAnotherDomainLeavesBeginInItsOwn) {
  static EpochDomain<4>* other;
  static volatile int left;
  static volatile bool stepping;
  EpochDomain<4> domain(this->kOptions);
  // Its slot of the thread is the same one.
  std::vector<std::optional<EpochDomain<4>>> more(kThreadSlots);
  for (auto& each : more) each.emplace(this->kOptions);
  other = &*more.back();
  const auto walk = [](auto& in) { const LocklessWalk section(in); };
  struct sigaction action = {};
  struct sigaction before = {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t*, void* context) {
    constexpr greg_t kTrapFlag = 0x100;
    if (!stepping) {
      static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &=
          ~kTrapFlag;
      return;
    }
    const int now = left;
    left = now - 1;
    if (now == 0) const LocklessWalk section(*other);
  };
  ASSERT_EQ(sigaction(SIGTRAP, &action, &before), 0);
  walk(*other);
  for (int at = 0;; ++at) {
    walk(domain);
    walk(domain);
    Object object;
    left = at;
    stepping = true;
    asm volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
    const auto section = domain.Begin();
    stepping = false;
    const bool met = left < 0;
    domain.Retire(object.retired);
    domain.Poll();
    EXPECT_EQ(object.freed, 0) << "instruction " << at;
    domain.End(section);
    domain.Poll();
    EXPECT_EQ(object.freed, 1);
    if (!met) break;
  }
  ASSERT_EQ(sigaction(SIGTRAP, &before, nullptr), 0);
}

#endif

// --- Fork.

// Runs `child` in a child process; whether it returned true.
bool TrueInChild(const std::function<bool()>& child) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(30);
    _exit(child() ? 0 : 1);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TYPED_TEST(EpochThreadTest, WalksOfOtherThreadsDoNotHoldTheChildBack) {
  EpochDomain<2> domain(this->kOptions);
  {
    const LocklessWalk walk(domain);
  }
  Steps steps;
  Object object;
  std::thread reader([&] {
    const LocklessWalk walk(domain);
    steps.Reach(1);
    steps.Await(2);
  });
  steps.Await(1);
  domain.Retire(object.retired);
  EXPECT_TRUE(TrueInChild([&] {
    domain.Synchronize();
    if (object.freed != 1 || domain.stats().Held() != 0) return false;
    Object another;
    {
      const LocklessWalk walk(domain);
      if (!static_cast<bool>(walk)) return false;
      domain.Retire(another.retired);
      domain.Poll();
      if (another.freed != 0) return false;
    }
    domain.Synchronize();
    return another.freed == 1;
  }));
  domain.Poll();
  EXPECT_EQ(object.freed, 0);
  steps.Reach(2);
  reader.join();
  domain.Poll();
  EXPECT_EQ(object.freed, 1);
}

TYPED_TEST(EpochThreadTest, TheForkingThreadIsInsideItsWalksInBoth) {
  EpochDomain<2> domain(this->kOptions);
  Object object;
  const auto section = domain.Begin();
  domain.Retire(object.retired);
  const auto held_until_the_end = [&] {
    domain.Poll();
    if (object.freed != 0) return false;
    domain.End(section);
    domain.Poll();
    return object.freed == 1;
  };
  EXPECT_TRUE(TrueInChild(held_until_the_end));
  EXPECT_TRUE(held_until_the_end());
}

// While others hold the domain's locks.
TYPED_TEST(EpochThreadTest, TheChildFindsNoLockHeld) {
  EpochDomain<4> domain(this->kOptions);
  Cell<std::uint32_t> stop(0u);
  std::vector<std::thread> busy;
  for (int i = 0; i < 2; ++i) {
    busy.emplace_back([&] {
      while (ReadOnce(stop, kRelaxed) == 0) {
        test::Published object;
        WriteOnce(object.free, 0u, kRelaxed);
        domain.Retire(object.retired);
        {
          const LocklessWalk walk(domain);
        }
        // Freed by us or by the other, who may be at it.
        while (ReadOnce(object.free, kAcquire) == 0) domain.Synchronize();
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(TrueInChild([&] {
      // Those of the others are on stacks that are still here.
      domain.Synchronize();
      {
        const LocklessWalk walk(domain);
      }
      Object object;
      domain.Retire(object.retired);
      domain.Synchronize();
      return object.freed == 1;
    }));
  }
  WriteOnce(stop, 1u, kRelaxed);
  for (std::thread& thread : busy) thread.join();
}

// --- A system without the barrier.

// From here on membarrier fails with `error`, for this thread and those that it
// starts.
bool ForbidMembarrier(int error) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K,
               SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{sizeof(filter) / sizeof(filter[0]), filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(EpochSystemTest, WithoutTheBarrierWalksBeginByALockedOperation) {
  for (const int error : {ENOSYS, EPERM}) {
    EXPECT_TRUE(TrueInChild([&] {
      if (!ForbidMembarrier(error)) return false;
      EpochDomain<> domain;
      if (domain.asymmetric()) return false;
      Object object;
      {
        const LocklessWalk walk(domain);
        domain.Retire(object.retired);
        domain.Poll();
        if (object.freed != 0) return false;
      }
      domain.Synchronize();
      return object.freed == 1;
    }));
  }
}

TEST(EpochSystemDeathTest, ABarrierThatIsTakenAwayTraps) {
  EpochDomain<> domain;
  if (!domain.asymmetric()) GTEST_SKIP() << "there is none";
  EXPECT_DEATH(
      {
        ForbidMembarrier(EPERM);
        domain.Synchronize();
      },
      "");
}

}  // namespace
}  // namespace ptage
