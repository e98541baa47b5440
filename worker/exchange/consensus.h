#ifndef FILIGREE_WORKER_EXCHANGE_CONSENSUS_H_
#define FILIGREE_WORKER_EXCHANGE_CONSENSUS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"
#include "worker/exchange/state_digest.h"

// Whether all ranks still have the state that they should have.
//
//   left    what the rank's last update left: digests taken right after it
//   found   the same state, digested anew before the next update
//
// A rank whose `found` is not its `left` has changed without an update: it is named, whatever the others say. Where
// all agree with themselves, and ranks that hold the same (replicas) do not agree with one another: all of those that
// differ are named, both where two do. With three replicas or more, of which more than half agree, only the others are
// named.
//
// Bytes          48 a rank to each other rank, whatever the model, as long as nothing is wrong; the digests of all
//                tensors only where something is.
// Determinism    every rank comes to the same result.

namespace filigree::exchange {

// From every rank to every other.
inline constexpr int64_t kConsensusBytes = 48;

struct Claim {
  int64_t epoch = 0;                // how many mask updates there have been
  int replica = 0;                  // ranks that give the same number hold the same
  std::vector<TensorDigests> left;  // empty: nothing is known yet (a start, a resume)
  std::vector<TensorDigests> found;
  // Of what only ranks that give the same number hold (moments with owners), beside the above.
  int part = 0;
  std::vector<TensorDigests> part_left, part_found;
  // Of what only this rank holds: compared with itself, not with others.
  std::vector<TensorDigests> own_left, own_found;
};

struct Verdict {
  std::vector<int> ranks;  // who is named, ascending; empty: all is well
  std::string text;        // who, which tensor and component, which epoch
};

// Collective. Errors: those of the communicator.
absl::StatusOr<Verdict> Compare(comm::Communicator& ranks, const Claim& claim);

// DataLoss with the verdict's text where somebody is named.
absl::Status Consensus(comm::Communicator& ranks, const Claim& claim);

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_CONSENSUS_H_
