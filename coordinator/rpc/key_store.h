#ifndef FILIGREE_COORDINATOR_RPC_KEY_STORE_H_
#define FILIGREE_COORDINATOR_RPC_KEY_STORE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/rpc/from_wire.h"
#include "coordinator/rpc/limits.h"
#include "coordinator/tables/tables.h"

namespace filigree::coordinator {

// NotFound: an unknown worker; FailedPrecondition: its incarnation is over.
absl::Status CheckLive(const Tables& tables, const Speaker& speaker);

// What ranks of one generation leave for each other while they find together. Values are written once and gone with the
// generation; nothing is durable. Threads: the strand's.
class KeyStore {
 public:
  using Answer = std::function<void(const absl::StatusOr<std::string>& value)>;

  explicit KeyStore(const Limits& limits) : limits_(limits) {}

  // Status: as SetKey and GetKey in proto/filigree/v1/workers.proto.
  absl::Status Set(const Tables& tables, const SetKeyQuery& query);
  // `answer` is called once, now or when the key is set, the time is over, the generation ends or the store closes.
  void Get(const Tables& tables, const GetKeyQuery& query, int64_t now_us, Answer answer);

  // Rows of a decision that was kept: generations that these end are dropped.
  void Follow(const Changes& rows);
  void Expire(int64_t now_us);
  void Close(const absl::Status& status);

  size_t bytes() const { return bytes_; }
  size_t generations() const { return generations_.size(); }

 private:
  struct Waiter {
    int64_t until_us = 0;
    Answer answer;
  };
  struct Generation {
    int64_t number = 0;
    std::map<std::string, int64_t> members;  // incarnations of the workers that hold its ranks
    std::map<std::string, std::string> values;
    std::map<std::string, std::vector<Waiter>> waiters;
    size_t bytes = 0;
  };

  absl::StatusOr<Generation*> Enter(const Tables& tables, const GenerationKey& key);
  void Drop(std::map<std::string, Generation>::iterator at, const absl::Status& status);

  const Limits& limits_;
  std::map<std::string, Generation> generations_;  // by job: it has one at a time
  size_t bytes_ = 0, waiting_ = 0;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_KEY_STORE_H_
