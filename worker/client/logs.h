#ifndef FILIGREE_WORKER_CLIENT_LOGS_H_
#define FILIGREE_WORKER_CLIENT_LOGS_H_

#include <cstdint>
#include <cstdio>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "filigree/v1/coordinator.pb.h"
#include "worker/client/connection.h"

// What ranks have printed, for people and for scripts.

namespace filigree::client {

struct LogOptions {
  std::string job;
  std::optional<int32_t> rank;        // none: all
  std::optional<int64_t> generation;  // none: all
  std::optional<int64_t> tail_lines;  // of what is kept, all ranks together; none: all
  int64_t tail_bytes = 0;             // of each rank in each generation; 0: all
  bool follow = false;                // until the job has ended
  bool json = false;
  std::FILE* out = stdout;                     // borrowed
  std::chrono::milliseconds patience{60'000};  // following: how long a coordinator may be away
};

// Makes lines of parts. Lines of one rank stay whole however others' parts come between; bytes that were told before,
// by their offset, are passed over, and bytes that are missing are told of in their place.
class LogLines {
 public:
  // `digits`: of the highest rank, where a line says whose it is; 0: it does not.
  LogLines(const LogOptions& options, int digits) : options_(options), digits_(digits) {}

  void Take(const v1::ReadLogReply& reply);
  void End();  // lines that have no end yet are told as they are

  int64_t told() const { return told_; }

 private:
  using Key = std::pair<int64_t, int32_t>;  // generation, rank
  struct Log {
    std::optional<int64_t> next;  // offset of the first byte that was not taken yet
    std::string line;             // that has no end yet
  };

  void TakePart(const v1::LogPart& part);
  void TakeText(const Key& key, Log& log, const std::string& text);
  void Missing(const Key& key, int64_t bytes);
  void Line(const Key& key, std::string text);
  void Tell(const Key& key, const std::string& text);
  void TellTail();
  void Write(const std::string& text);

  const LogOptions& options_;
  const int digits_;
  std::map<Key, Log> logs_;
  bool caught_up_ = false;
  std::deque<std::pair<Key, std::string>> tail_;  // until all that was kept is known, where only its end is wanted
  int64_t generation_ = 0;                        // of the last line
  int64_t told_ = 0;                              // lines
};

// Prints to `options.out`; following, goes on where the coordinator was restarted. How many lines. Status as ReadLog in
// proto/filigree/v1/coordinator.proto, Unavailable where nobody answered for as long as is waited.
absl::StatusOr<int64_t> ReadLogs(const Connection& connection, const LogOptions& options);

}  // namespace filigree::client

#endif  // FILIGREE_WORKER_CLIENT_LOGS_H_
