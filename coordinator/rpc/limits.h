#ifndef FILIGREE_COORDINATOR_RPC_LIMITS_H_
#define FILIGREE_COORDINATOR_RPC_LIMITS_H_

#include <chrono>
#include <cstddef>
#include <cstdint>

// What the server takes from outside at most (docs/rpc.md lists them). Fields of messages: from_wire.cc and
// coordinator/core.

namespace filigree::coordinator {

struct Limits {
  int receive_bytes = 4 << 20;                      // of one message
  size_t memory_bytes = size_t{512} << 20;          // of messages on their way in and out; gRPC slows down there
  int streams_per_connection = 1024;                // calls at one time
  size_t waiting_calls = 65'536;                    // for the thread that decides; more are refused
  size_t waiting_bytes = size_t{512} << 20;         // of their messages; likewise
  std::chrono::minutes idle_connection{10};         // without a call; clients connect again when they need to
  std::chrono::seconds deadline{60};                // of a call that has none, or a longer one
  std::chrono::seconds watch_deadline{3600};        // the same of Watch
  std::chrono::seconds longest_wait{60};            // of AwaitNews and GetKey
  size_t watchers = 1024;                           // streams at one time
  size_t watch_queue = 256;                         // messages that wait for one slow reader
  std::chrono::seconds watch_grace{30};             // until a reader that reads nothing at all is cut off
  size_t key_bytes = 256, value_bytes = 256 << 10;  // of one key
  size_t generation_bytes = 64 << 20;               // keys and values of one generation
  size_t store_bytes = 256 << 20;                   // of all of them
  size_t key_waiters = 65'536;                      // calls that wait for keys
  size_t answer_bytes = 64 << 20;                   // to all who waited for one key; the others ask again
  int log_parts = 256;                              // of one SendLog
  size_t log_part_bytes = 64 << 10, log_message_bytes = 1 << 20;  // of one part, of all parts of one SendLog
  // What is kept of logs: of a rank in a generation, of a job, of all. A part counts 256 bytes more than its text.
  size_t log_rank_bytes = 64 << 10, log_job_bytes = 1 << 20, log_store_bytes = size_t{64} << 20;
  size_t log_readers = 64;                            // streams at one time
  size_t log_batch_bytes = 128 << 10, log_queue = 8;  // of one message; messages that wait for one reader
  std::chrono::milliseconds log_linger{2000};  // followed for as long after a job has ended: last words come late
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_RPC_LIMITS_H_
