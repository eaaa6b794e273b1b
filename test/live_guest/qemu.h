// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A QEMU for tests: started, asked by QMP, and ended with the test.

#ifndef PTAGE_TEST_LIVE_GUEST_QEMU_H_
#define PTAGE_TEST_LIVE_GUEST_QEMU_H_

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "examples/live_guest/qmp.h"

namespace ptage::test {

// The program, if the machine has it.
inline constexpr char kQemu[] = "/usr/bin/qemu-system-x86_64";
inline bool HasQemu() { return access(kQemu, X_OK) == 0; }

// A folder that goes away with everything in it. Its path is short, as those of
// sockets have to be.
class ShortFolder {
 public:
  ShortFolder() {
    char path[] = "/tmp/ptageXXXXXX";
    if (mkdtemp(path) != nullptr) path_ = path;
  }
  ~ShortFolder() {
    if (DIR* const folder = opendir(path_.c_str())) {
      while (const dirent* const entry = readdir(folder)) {
        unlink(PathOf(entry->d_name).c_str());
      }
      closedir(folder);
    }
    rmdir(path_.c_str());
  }
  ShortFolder(const ShortFolder&) = delete;
  ShortFolder& operator=(const ShortFolder&) = delete;
  [[nodiscard]] std::string PathOf(const std::string& name) const {
    return absl::StrCat(path_, "/", name);
  }

 private:
  std::string path_;
};

// A program that is killed with this, or with the thread that started it.
class Child {
 public:
  explicit Child(const std::vector<std::string>& command, int output = -1) {
    std::vector<char*> arguments;
    for (const std::string& argument : command) {
      arguments.push_back(const_cast<char*>(argument.c_str()));
    }
    arguments.push_back(nullptr);
    pid_ = fork();
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (output >= 0) dup2(output, STDOUT_FILENO);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  ~Child() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    (void)Wait();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  // Its exit status; 128 + N if signal N ended it.
  int Wait() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
};

// Where all tests may be slow: two processors, and others run on them.
inline constexpr absl::Duration kQemuPatience = absl::Seconds(60);

// A guest without devices but those that are asked for. Its monitor's socket is
// "qmp" in the folder.
class Qemu {
 public:
  Qemu(const ShortFolder& folder, const std::vector<std::string>& arguments)
      : socket_(folder.PathOf("qmp")), child_(CommandOf(folder, arguments)) {}

  [[nodiscard]] const std::string& socket() const { return socket_; }
  [[nodiscard]] pid_t pid() const { return child_.pid(); }
  int Wait() { return child_.Wait(); }
  // A connection, as soon as QEMU listens.
  [[nodiscard]] absl::StatusOr<live_guest::Qmp> Connect() const {
    for (int i = 0;; ++i) {
      auto qmp = live_guest::Qmp::Connect(socket_, kQemuPatience);
      if (qmp.ok() || i == 600) return qmp;
      absl::SleepFor(absl::Milliseconds(50));
    }
  }

 private:
  static std::vector<std::string> CommandOf(
      const ShortFolder& folder, const std::vector<std::string>& arguments) {
    std::vector<std::string> command = {
        kQemu,
        "-accel",
        "tcg",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-qmp",
        absl::StrCat("unix:", folder.PathOf("qmp"), ",server=on,wait=off")};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
  }

  const std::string socket_;
  Child child_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_LIVE_GUEST_QEMU_H_
