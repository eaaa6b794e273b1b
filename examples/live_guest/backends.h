// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The files that a guest's RAM lies in.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_BACKENDS_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_BACKENDS_H_

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "examples/live_guest/json.h"
#include "examples/live_guest/layout.h"
#include "examples/live_guest/qmp.h"

namespace ptage::live_guest {

// RAM, with the file that it lies in.
struct FilePiece {
  RamPiece ram;
  std::string path;
};

// The guest's RAM as QEMU says it is now. FailedPrecondition: part of it is not
// in a file that is shared, and what to start the guest with instead.
[[nodiscard]] inline absl::StatusOr<std::vector<FilePiece>> ReadLayout(
    Qmp& qmp);

// ---------------------------------------------------------------------------

namespace internal {

// What the guest should have been started with.
inline constexpr absl::string_view kHowToShare =
    "start it with -object memory-backend-file,id=ram,size=SIZE,mem-path=FILE,"
    "share=on -machine memory-backend=ram";

inline absl::StatusOr<std::string> Property(Qmp& qmp, const std::string& id,
                                            absl::string_view name) {
  absl::StatusOr<Json> value = qmp.Command(
      "qom-get", absl::StrFormat("{\"path\":%s,\"property\":%s}",
                                 QuoteJson(absl::StrCat("/objects/", id)),
                                 QuoteJson(name)));
  if (!value.ok()) return value.status();
  return value->text;
}

// The path of the backend's file.
inline absl::StatusOr<std::string> SharedFile(Qmp& qmp, const Json& backend) {
  const std::string id = backend.StringAt("id");
  const absl::StatusOr<std::string> type = Property(qmp, id, "type");
  if (!type.ok()) return type.status();
  if (*type != "memory-backend-file") {
    return absl::FailedPreconditionError(
        absl::StrFormat("the guest's RAM \"%s\" is a %s, which is no file: %s",
                        id, *type, kHowToShare));
  }
  const Json* const share = backend.Find("share");
  if (share == nullptr || !share->boolean) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the guest's RAM \"%s\" is a private copy of its file: %s", id,
        kHowToShare));
  }
  return Property(qmp, id, "mem-path");
}

}  // namespace internal

inline absl::StatusOr<std::vector<FilePiece>> ReadLayout(Qmp& qmp) {
  const absl::StatusOr<std::string> map = qmp.Human("info mtree -f");
  if (!map.ok()) return map.status();
  const absl::StatusOr<std::vector<RamPiece>> pieces = ParseFlatView(*map);
  if (!pieces.ok()) return pieces.status();
  const absl::StatusOr<Json> backends = qmp.Command("query-memdev");
  if (!backends.ok()) return backends.status();

  std::vector<FilePiece> found;
  for (const Json& backend : backends->items) {
    const std::string id = backend.StringAt("id");
    std::string path;
    for (const RamPiece& piece : *pieces) {
      // Machines of old call the region by the backend's whole path.
      if (piece.region != id && piece.region != absl::StrCat("/objects/", id)) {
        continue;
      }
      if (path.empty()) {
        const absl::StatusOr<std::string> file =
            internal::SharedFile(qmp, backend);
        if (!file.ok()) return file.status();
        path = *file;
      }
      found.push_back(FilePiece{piece, path});
    }
  }
  if (found.empty()) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the guest has no RAM of a memory backend: %s", internal::kHowToShare));
  }
  std::sort(found.begin(), found.end(),
            [](const FilePiece& a, const FilePiece& b) {
              return a.ram.address < b.ram.address;
            });
  return found;
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_BACKENDS_H_
