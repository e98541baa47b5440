#ifndef FILIGREE_WORKER_DATA_FILES_H_
#define FILIGREE_WORKER_DATA_FILES_H_

#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace filigree::data {

// All bytes of a regular file. NotFound: there is none; ResourceExhausted: it has more than `max_bytes` (nothing is
// read); DataLoss: it cannot be read, or is no regular file (a FIFO is never waited for).
absl::StatusOr<std::string> ReadWholeFile(const std::string& path, int64_t max_bytes);

// The limit for text that a user hands to a command.
inline constexpr int64_t kMaxInputBytes = int64_t{1} << 30;

// All bytes of a stream up to its end. ResourceExhausted: there are more than `max_bytes`; DataLoss: it cannot be read.
absl::StatusOr<std::string> ReadStream(std::FILE* stream, const std::string& name, int64_t max_bytes);

// What a user names as the input of a command: a file as ReadWholeFile reads it, a pipe or device (`/dev/stdin`, the
// shell's `<(...)`) to its end, standard input for "-" and for nothing. Errors of the two above.
absl::StatusOr<std::string> ReadInput(const std::string& path, int64_t max_bytes);

// Creates or replaces `path` with `content` and syncs it to disk. PermissionDenied, ResourceExhausted (disk full) or
// Unavailable with the system's reason; a partly written file may be left.
absl::Status WriteWholeFile(const std::string& path, const std::string& content);

// Status for a failed system call: `doing` on `path`, and why.
absl::Status SystemError(int error, const std::string& path, const std::string& doing);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_FILES_H_
