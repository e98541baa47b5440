#ifndef FILIGREE_WORKER_COMM_CALL_H_
#define FILIGREE_WORKER_COMM_CALL_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "worker/comm/array.h"
#include "worker/comm/reduce.h"

// What a rank has called, as it travels in front of every operation's first message, and how two of them disagree.

namespace filigree::comm {

enum class Kind : uint8_t { kAllReduce, kReduceScatter, kAllGather, kAllToAll, kBroadcast, kBarrier, kStrings, kSplit };

const char* Name(Kind kind);

// Compared between ranks, all of it but `what`.
struct Call {
  uint64_t number = 0;  // of the operation in its group, from 1
  Kind kind = Kind::kBarrier;
  ElementType type = ElementType::kBytes;
  ReduceOp reduce = ReduceOp::kSum;
  int32_t root = 0;
  int64_t count = 0;           // elements in all, where that is the same on every rank
  uint64_t counts_digest = 0;  // of the counts of ranks, likewise
  std::string what;            // Communicator::Name
  std::string refusal;         // why this rank cannot take part, empty: it does
};

// The bytes of a Call between two ranks: what the sender of it sends to the other, and what it expects from there.
struct Header {
  Call call;
  uint64_t sends = 0;
  uint64_t expects = 0;
};
constexpr size_t kHeaderBytes = 256;  // `what` and `refusal` are cut so that they fit
void WriteHeader(const Header& header, std::byte* to);
// FailedPrecondition where the bytes are no header of this version of the program.
absl::Status ReadHeader(const std::byte* from, Header* header);

// "all-reduce (sum) of 10 float32, operation 7, gradients of layer 3"
std::string Describe(const Call& call);

// OK where rank `mine_rank` called `mine` and `other_rank` called `other` and both go together; FailedPrecondition that
// names both calls and both ranks.
absl::Status Compare(int mine_rank, const Header& mine, int other_rank, const Header& other);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_CALL_H_
