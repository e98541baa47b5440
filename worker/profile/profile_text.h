#ifndef FILIGREE_WORKER_PROFILE_PROFILE_TEXT_H_
#define FILIGREE_WORKER_PROFILE_PROFILE_TEXT_H_

#include <string>

#include "absl/status/status.h"
#include "worker/profile/profile.h"

// A profile for people, for programs (docs/formats/trace.md) and for a viewer of traces.

namespace filigree::train {

// The machine; a line a kernel, a line a phase; what no kernel accounts for; percent of speed of light.
std::string FormatTable(const Profile& profile);

// The same as JSON, an object a line: "kind" is "profile", "kernel" or "phase".
std::string FormatJson(const Profile& profile);

// Every span as a Chrome trace (chrome://tracing, Perfetto). The file is there whole or not at all, but for a pipe or
// device, which is written to. Errors name the path.
// Whether it can be written, before the work that it is of; leaves nothing behind.
absl::Status CheckTracePath(const std::string& path);
absl::Status WriteChromeTrace(const Profile& profile, const std::string& path);
std::string FormatChromeTrace(const Profile& profile);

}  // namespace filigree::train

#endif  // FILIGREE_WORKER_PROFILE_PROFILE_TEXT_H_
