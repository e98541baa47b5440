#ifndef FILIGREE_WORKER_CHECKPOINT_MAPPED_FILE_H_
#define FILIGREE_WORKER_CHECKPOINT_MAPPED_FILE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace filigree::checkpoint {

// A whole file as read-only memory. Copies share the mapping, which lives as long as one of them. The file must not
// shrink meanwhile: reading behind its new end ends the process.
class MappedFile {
 public:
  // NotFound, PermissionDenied, ...: as opening it failed; FailedPrecondition: not a regular file; DataLoss: empty.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  std::span<const uint8_t> bytes() const { return bytes_; }

 private:
  std::shared_ptr<const void> mapping_;
  std::span<const uint8_t> bytes_;
};

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_MAPPED_FILE_H_
