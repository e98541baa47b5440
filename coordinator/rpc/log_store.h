#ifndef FILIGREE_COORDINATOR_RPC_LOG_STORE_H_
#define FILIGREE_COORDINATOR_RPC_LOG_STORE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/rpc/from_wire.h"
#include "coordinator/rpc/limits.h"
#include "coordinator/tables/tables.h"

namespace filigree::coordinator {

// The last of what ranks have printed, in memory: Limits::log_rank_bytes of each, log_job_bytes of a job (the longest
// log gives first), log_store_bytes of all (jobs that ended first give first, whole; then those that have been silent
// longest). Text is any bytes. Threads: the strand's.
class LogStore {
 public:
  explicit LogStore(const Limits& limits) : limits_(limits) {}

  // Keeps the parts that the speaker may send. What is there already, by its offset, is not kept twice; what lies
  // between two parts is missing, and stays so. Status: as SendLog in proto/filigree/v1/workers.proto.
  absl::Status Take(const Tables& tables, SendLogQuery query);

  // Rows of a decision that was kept. Ranks of the generation before the present one may still send their last words
  // until the job has ended.
  void Follow(const Changes& rows);

  // How far somebody has read.
  struct Position {
    int64_t after = 0;                // arrival of the last part that was read
    std::map<LogKey, int64_t> begin;  // offsets before which nothing is read
  };
  // Where to begin to read the last `tail_bytes` of each log of the query.
  Position Begin(const ReadLogQuery& query) const;
  // Parts of the query behind `position`, in the order of arrival: as many as `bytes` hold, at least one where there is
  // one. Moves the position behind them.
  std::vector<LogPart> Read(const ReadLogQuery& query, Position& position, size_t bytes) const;
  // Arrival of the last part of all.
  int64_t last_arrival() const { return arrivals_; }

  size_t bytes() const { return bytes_; }

 private:
  struct Log {
    std::deque<int64_t> arrivals;  // of its parts
    int64_t end = 0;               // offset behind the last
    size_t bytes = 0;
  };
  struct JobLog {
    std::map<int64_t, LogPart> parts;  // by arrival
    std::map<LogKey, Log> logs;
    std::set<std::pair<size_t, LogKey>> by_size;
    size_t bytes = 0;
    bool open = true;     // has not ended
    int64_t touched = 0;  // when it last came to an end or to a part, in arrivals
  };
  // Who has the ranks of the present generation and of the one before.
  struct Places {
    int64_t generation = 0, earlier = 0;
    std::vector<RankPlace> ranks, earlier_ranks;
  };
  using Jobs = std::map<std::string, JobLog>;

  absl::Status Check(const Tables& tables, const Speaker& speaker, const LogPart& part);
  void Remember(const JobRow& row);
  void Add(bool open, LogPart part);
  void DropFirst(JobLog& job, LogKey key);
  void Trim(JobLog& job, const LogKey& key);
  void Touch(const std::string& id, JobLog& job, bool open);
  void Resize(JobLog& job, const LogKey& key, Log& log, size_t bytes);

  const Limits& limits_;
  Jobs jobs_;
  std::set<std::pair<std::pair<bool, int64_t>, std::string>> order_;  // whose turn it is to give: (open, touched), job
  std::map<std::string, Places> places_;                              // of jobs that have not ended
  int64_t arrivals_ = 0;
  size_t bytes_ = 0;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_LOG_STORE_H_
