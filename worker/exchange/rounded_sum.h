#ifndef FILIGREE_WORKER_EXCHANGE_ROUNDED_SUM_H_
#define FILIGREE_WORKER_EXCHANGE_ROUNDED_SUM_H_

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "worker/comm/communicator.h"

// Sums of gradients over data-parallel ranks in bf16, with what rounding takes held back for the next step.
//
//   every rank   sends each owner its slices of all arrays, rounded (kernels/gradcodec/bf16.h)
//   the owner    adds them in fp32 to its own, which is not rounded, in the order of ranks, and rounds the sum
//   all-gather   of the rounded sums
//
// An array may have one owner for all of it: its sum stays there, whole, and is not rounded. What that owner still held
// back of it is in the sum.
//
// Who rounds holds back the rest: what has arrived, plus all ranks' residuals, is the sum of all gradients so far up
// to the rounding of fp32 additions.
//
// Slices         of each array by itself (slices.h), so that who owns an entry does not depend on the other arrays:
//                ranks that share a model and have an array alike get the same sum of it.
// Bytes          a rank sends 2 (P - 1) / P * 2 a value; half of that where arrays have owners that share evenly.
// Determinism    the same bits on every rank: a function of the grid and of the residuals.
// Threads        one caller; parallel over the pool.

namespace filigree::exchange {

class RoundedSum {
 public:
  // Borrows both.
  RoundedSum(comm::Communicator& data, kernels::ThreadPool& pool) : data_(data), pool_(pool) {}

  struct Values {
    std::span<float> gradient;  // in: this rank's; out: the sum
    std::span<float> residual;  // what this rank holds back, as many; 0 at first
    int owner = -1;             // the one rank that gets the sum, `gradient` is unspecified elsewhere; -1: all get it
  };
  // Arrays of the same sizes and owners on every rank. Collective. Errors: those of the communicator; both are then
  // unspecified.
  absl::Status Sum(std::span<const Values> arrays);

 private:
  // A run of one array that one rank owns, and where it stands among all that this rank owns.
  struct Piece {
    int owner = 0;
    size_t array = 0;
    int64_t begin = 0, size = 0, offset = 0;
  };
  void Cut(std::span<const Values> arrays);
  void CutArray(size_t array, int owner, int64_t begin, int64_t end);
  absl::Status SendToOwners(std::span<const Values> arrays);
  absl::Status GatherSums(std::span<const Values> arrays);
  // f(piece) for those that `wanted(piece)` names, in tasks of the pool.
  template <typename Wanted, typename F>
  void ForEach(Wanted wanted, F f);
  bool Own(const Piece& piece) const { return piece.owner == data_.rank(); }
  bool GoesToAll(const Piece& piece) const { return piece.offset < gathered_[piece.owner]; }

  comm::Communicator& data_;
  kernels::ThreadPool& pool_;
  std::vector<Piece> pieces_;                 // by owner, then by array
  std::vector<int64_t> counts_;               // values that each rank owns: first
  std::vector<int64_t> gathered_;             // those whose sums go to all
  std::vector<std::pair<int64_t, int>> cut_;  // sizes and owners of the arrays that were cut so
  kernels::Buffer<uint16_t> halves_;          // of all values, by owner
  kernels::Buffer<uint16_t> received_;        // the other ranks' of the own pieces, one rank after another
};

}  // namespace filigree::exchange

#endif  // FILIGREE_WORKER_EXCHANGE_ROUNDED_SUM_H_
