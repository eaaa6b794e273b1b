// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A guest with Debian's Linux, and a program of ours in it that does what it is
// told: see guest_init.cc.

#ifndef PTAGE_TEST_LIVE_GUEST_LINUX_GUEST_H_
#define PTAGE_TEST_LIVE_GUEST_LINUX_GUEST_H_

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "examples/live_guest/guest.h"
#include "examples/live_guest/guest_ram.h"
#include "examples/live_guest/qmp.h"
#include "gtest/gtest.h"
#include "test/live_guest/qemu.h"

namespace ptage::test {

struct LinuxOptions {
  int cpus = 1;
  std::string append = {};  // to the kernel's command line
  std::string cpu = "qemu64";
  int mib = 1024;  // less, and the kernel makes no large pages
};

// The kernel's file, and the first program's; empty if there is none.
inline std::string RunfileOf(const std::string& name) {
  const char* const folder = std::getenv("TEST_SRCDIR");
  const std::string path =
      absl::StrCat(folder == nullptr ? "." : folder, "/", name);
  return access(path.c_str(), R_OK) == 0 ? path : "";
}
inline std::string KernelPath() { return RunfileOf("debian_linux/vmlinuz"); }
inline std::string InitramfsPath() {
  return RunfileOf("ptage/test/live_guest/initramfs");
}

// Why there can be none; empty if there can.
inline std::string WhyNoLinuxGuest() {
  if (!HasQemu()) {
    return absl::StrCat("skipped: no ", kQemu, " (Debian's qemu-system-x86)");
  }
  if (KernelPath().empty()) {
    return "skipped: no kernel (Debian's linux-image-cloud-amd64 could not be "
           "fetched)";
  }
  return "";
}

class LinuxGuest {
 public:
  // Waits until the guest's program is there. Check ok().
  explicit LinuxGuest(const LinuxOptions& options = LinuxOptions())
      : qemu_(folder_, ArgumentsOf(options)) {
    Connect();
    if (socket_ >= 0 && Receive() == "ready") Watch();
  }
  ~LinuxGuest() {
    if (socket_ >= 0) close(socket_);
  }
  LinuxGuest(const LinuxGuest&) = delete;
  LinuxGuest& operator=(const LinuxGuest&) = delete;

  [[nodiscard]] bool ok() const { return guest_ != nullptr; }
  // What the guest's kernel said; for a test that fails.
  [[nodiscard]] std::string Console() const {
    std::ifstream file(folder_.PathOf("console"));
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  // The guest as the tool sees it.
  [[nodiscard]] live_guest::Guest& guest() { return *guest_; }
  [[nodiscard]] const std::string& monitor() const { return qemu_.socket(); }
  // Lets go of the monitor, which serves one client, and takes it again.
  void Release() { guest_.reset(); }
  void Watch() {
    auto guest = live_guest::Guest::Open(
        qemu_.socket(), live_guest::RamAccess::kReadWrite, kQemuPatience);
    EXPECT_TRUE(guest.ok()) << guest.status();
    if (guest.ok()) guest_ = *std::move(guest);
  }

  // A line for the guest's program, and its answer; empty if there is none.
  std::string Ask(const std::string& line) {
    const std::string text = line + "\n";
    if (send(socket_, text.data(), text.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(text.size())) {
      return "";
    }
    return Receive();
  }
  std::uint64_t AskNumber(const std::string& line) {
    std::uint64_t number = 0;
    const std::string answer = Ask(line);
    EXPECT_TRUE(absl::SimpleAtoi(answer, &number)) << line << ": " << answer;
    return number;
  }

  // Makes every CPU of the guest forget its translations: QEMU does so when
  // what memory there is changes, here the registers of a device that nobody
  // uses. Configuration mechanism 1 of PCI: ports 0xCF8 and 0xCFC; the command
  // register is at 4, its bit 1 decodes memory.
  void RefreshTlb() {
    // What it prints is a complaint.
    const auto out = [&](const std::string& line) {
      const auto printed = guest_->qmp().Human(line);
      EXPECT_TRUE(printed.ok() && *printed == "") << line;
    };
    for (const int decode : {0, 2}) {
      out(absl::StrFormat("o /w 0xcf8 0x%x", 0x8000'0000u | 31 << 11 | 4));
      out(absl::StrFormat("o /h 0xcfc %d", decode));
    }
  }

 private:
  std::vector<std::string> ArgumentsOf(const LinuxOptions& options) const {
    return {
        "-cpu", options.cpu, "-smp", absl::StrCat(options.cpus), "-m",
        absl::StrCat(options.mib, "M"), "-object",
        absl::StrFormat("memory-backend-file,id=ram,size=%dM,mem-path=%s,"
                        "share=on",
                        options.mib, folder_.PathOf("ram")),
        "-machine", "pc,memory-backend=ram", "-device", "pci-testdev,addr=1f.0",
        "-serial", absl::StrCat("file:", folder_.PathOf("console")), "-serial",
        absl::StrCat("unix:", folder_.PathOf("port"), ",server=on,wait=off"),
        "-no-reboot", "-kernel", KernelPath(), "-initrd", InitramfsPath(),
        "-append",
        // A machine that is busy with other things looks broken to a
        // kernel that measures time.
        absl::StrCat("console=ttyS0 quiet panic=-1 no_timer_check "
                     "nowatchdog rcupdate.rcu_cpu_stall_suppress=1 "
                     "mitigations=off ",
                     options.append)};
  }

  void Connect() {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    const std::string path = folder_.PathOf("port");
    std::memcpy(address.sun_path, path.c_str(), path.size());
    for (int i = 0; i < 600; ++i) {
      const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (connect(socket, reinterpret_cast<const sockaddr*>(&address),
                  sizeof address) == 0) {
        socket_ = socket;
        return;
      }
      close(socket);
      absl::SleepFor(absl::Milliseconds(50));
    }
  }
  // A line; empty if there is none for long.
  std::string Receive() {
    std::string line;
    for (;;) {
      pollfd wait = {.fd = socket_, .events = POLLIN, .revents = 0};
      char c = 0;
      if (poll(&wait, 1, 240'000) <= 0 || recv(socket_, &c, 1, 0) != 1) {
        return "";
      }
      if (c == '\n') return line;
      if (c != '\r') line += c;
    }
  }

  const ShortFolder folder_;
  const Qemu qemu_;
  int socket_ = -1;
  std::unique_ptr<live_guest::Guest> guest_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_LIVE_GUEST_LINUX_GUEST_H_
