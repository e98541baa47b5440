#ifndef FILIGREE_WORKER_AGENT_KEY_MEMORY_H_
#define FILIGREE_WORKER_AGENT_KEY_MEMORY_H_

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "filigree/v1/workers.pb.h"

namespace filigree::agent {

// What ranks of this worker have left at the coordinator for each other. A coordinator that is started anew has none of
// it: it is left there again. Threads: any.
class KeyMemory {
 public:
  static constexpr size_t kMostBytes = size_t{64} << 20;  // of all of it; what is beyond is not remembered

  // The first of a job, generation and key is kept; false: this one is not.
  bool Remember(const v1::SetKeyRequest& request);
  // The coordinator has taken this one: it is kept whatever was.
  void Accept(const v1::SetKeyRequest& request);
  // The coordinator has refused what Remember has kept.
  void Drop(const v1::SetKeyRequest& request);
  std::vector<v1::SetKeyRequest> All() const;
  void Forget(const std::function<bool(const std::string& job, int64_t generation)>& lives);

 private:
  mutable std::mutex mutex_;
  std::map<std::tuple<std::string, int64_t, std::string>, v1::SetKeyRequest> requests_;  // guarded by mutex_
  size_t bytes_ = 0;                                                                     // guarded by mutex_
};

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_KEY_MEMORY_H_
