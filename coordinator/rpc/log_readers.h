#ifndef FILIGREE_COORDINATOR_RPC_LOG_READERS_H_
#define FILIGREE_COORDINATOR_RPC_LOG_READERS_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>

#include "coordinator/rpc/from_wire.h"
#include "coordinator/rpc/limits.h"
#include "coordinator/rpc/log_store.h"
#include "coordinator/rpc/reply_stream.h"
#include "coordinator/tables/tables.h"

namespace filigree::coordinator {

// All who read logs. Each is sent what there is as fast as it reads; nothing is kept for a slow one, it misses what the
// store has given up meanwhile. Threads: the strand's.
class LogReaders {
 public:
  LogReaders(const Limits& limits, const LogStore& store) : limits_(limits), store_(store) {}

  // NotFound and ResourceExhausted end the stream.
  void Add(const Tables& tables, const ReadLogQuery& query, int64_t until_us, std::shared_ptr<LogStream> stream);

  // Something of these jobs has come.
  void Publish(const SendLogQuery& sent);

  // Readers that have taken what waited, jobs that have ended, readers whose time is over or that are gone.
  void Tick(const Tables& tables, int64_t now_us);

  void Close(const absl::Status& status);
  size_t count() const { return readers_.size(); }

 private:
  struct Reader {
    ReadLogQuery query;
    LogStore::Position position;
    int64_t known = 0;  // the last arrival when it began
    int64_t until_us = 0;
    int64_t job_ended_us = 0, ended_us = 0;  // when it was first seen; 0: not yet
    bool caught_up = false, cut_off = false;
    std::shared_ptr<LogStream> stream;
  };

  bool Send(Reader& reader);
  void TickReader(const Tables& tables, Reader& reader, int64_t now_us);

  const Limits& limits_;
  const LogStore& store_;
  std::list<Reader> readers_;
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_LOG_READERS_H_
