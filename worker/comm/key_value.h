#ifndef FILIGREE_WORKER_COMM_KEY_VALUE_H_
#define FILIGREE_WORKER_COMM_KEY_VALUE_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Where ranks that do not know each other yet leave and find a few bytes. The coordinator serves one; a folder that all
// ranks see is another.

namespace filigree::comm {

class KeyValueStore {
 public:
  virtual ~KeyValueStore() = default;

  // A key is written once: AlreadyExists where it holds something else.
  virtual absl::Status Set(const std::string& key, const std::string& value) = 0;
  // Waits for the key. DeadlineExceeded names it.
  virtual absl::StatusOr<std::string> Get(const std::string& key, std::chrono::milliseconds deadline) = 0;
};

// In this process, for ranks that are threads.
std::shared_ptr<KeyValueStore> MemoryStore();

// Files in `folder`, which exists; values appear whole (renamed into place). Keys may hold any bytes.
absl::StatusOr<std::shared_ptr<KeyValueStore>> FolderStore(const std::string& folder);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_KEY_VALUE_H_
