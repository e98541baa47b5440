#ifndef FILIGREE_WORKER_CHECKPOINT_HASHING_H_
#define FILIGREE_WORKER_CHECKPOINT_HASHING_H_

#include <xxhash.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/checkpoint/file_system.h"

// XXH3-128 over the bytes of a file, as 32 hex digits: what the manifest says of every file. It finds damage at the
// speed of memory; it is no protection against forgery.

namespace filigree::checkpoint {

std::string Xxh3Hex(const std::string& bytes);
absl::StatusOr<std::string> Xxh3Hex(const ReadableFile& file);

// Passes everything on to another file and hashes it on the way, while it is still in cache.
class HashingFile : public WritableFile {
 public:
  explicit HashingFile(std::unique_ptr<WritableFile> file);
  absl::Status Append(const void* data, size_t n) override;
  absl::Status Sync() override { return file_->Sync(); }
  absl::Status Close() override { return file_->Close(); }

  uint64_t bytes() const { return bytes_; }
  std::string Hex() const;

 private:
  struct FreeState {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<WritableFile> file_;
  std::unique_ptr<XXH3_state_t, FreeState> state_;
  uint64_t bytes_ = 0;
};

}  // namespace filigree::checkpoint

#endif  // FILIGREE_WORKER_CHECKPOINT_HASHING_H_
