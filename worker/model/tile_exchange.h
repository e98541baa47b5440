#ifndef FILIGREE_WORKER_MODEL_TILE_EXCHANGE_H_
#define FILIGREE_WORKER_MODEL_TILE_EXCHANGE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/base/buffer.h"
#include "kernels/base/thread_pool.h"
#include "kernels/base/tile.h"
#include "worker/model/activations.h"
#include "worker/model/spec.h"
#include "worker/model/tensor_group.h"

// How the tiles of a pass move between the ranks of a tensor group. Every tile has an owner, who alone computes with
// its residual; tiles are cut among ranks in contiguous runs. Three movements, each one or two calls of the group:
//
//   Gather   owners' tiles reach everybody                (inputs of c_attn and c_fc, gradients by outputs of c_proj)
//   Sum      everybody's partial sums reach the owner     (outputs of c_proj, gradients by inputs of c_attn and c_fc)
//   Select   AbsTopK over channels that ranks share: they reach the owner, its kept bits return
//
// Threads        called from one thread; work on tiles is shared among the threads of the pool.
// Errors         those of the group; the contents of buffers are then unspecified.
// Memory         buffers grow and are reused.

namespace filigree::model {

class TileExchange {
 public:
  // Borrows everything. whole: the spec of the whole model.
  TileExchange(const ModelSpec& whole, TensorGroup& group, kernels::ThreadPool& pool);

  // The number of tiles of the next calls, and those that are this rank's own of so many.
  void SetTiles(int tiles) { tiles_ = tiles; }
  int tiles() const { return tiles_; }
  TileRun Own(int tiles) const { return {BeginOf(tiles, group_.rank()), BeginOf(tiles, group_.rank() + 1)}; }
  int begin() const { return BeginOf(tiles_, group_.rank()); }
  int end() const { return BeginOf(tiles_, group_.rank() + 1); }

  // Own tiles of `tiles` -> all of them, on every rank. kept (null, or empty: dense) has k bits of every token; then
  // only those travel, with their values, and the other values become 0.
  absl::Status Gather(const char* what, TileBuffer& tiles, KeptBuffer* kept, int k);

  // Bytes of every tile, `bytes` a tile, tile n at data + n * bytes: those of own tiles reach everybody.
  absl::Status GatherBytes(const char* what, void* data, size_t bytes);
  // Likewise, where every rank has something of every tile: rank r's runs are the r-th part of data, bytes[r] long.
  absl::Status GatherRuns(const char* what, void* data, std::span<const int64_t> bytes);

  // A sum over ranks in three steps. Begin: of so many channels; with kept bits (k of every token; of every tile on
  // every rank) only kept entries matter. Then Add of every tile and piece (a subtree of this rank's groups: `pieces`
  // of them, see Linear): form(out) writes it; different ones may be added from several threads. Finish: use(n, sum,
  // worker) for every own tile: the pieces of all ranks added along the tree; entries that were not kept are 0. The
  // tile may be written to.
  void BeginSum(int channels, const KeptBuffer* kept, int k);
  int pieces() const { return static_cast<int>(subtrees_[group_.rank()].size()); }
  void Add(int n, int piece, int worker, const std::function<void(kernels::Tile)>& form);
  absl::Status FinishSum(const char* what, const std::function<void(int n, kernels::Tile sum, int worker)>& use);

  // AbsTopK over all ranks' channels, at some places of every tile: rows [first, first + channels[rank]) of `tiles` are
  // this rank's part of a place whose channels[r] are those of rank r, in the order of ranks. Keeps k of every token;
  // writes those rows of the tiles and of `kept`. guess(worker, place): as AbsTopK takes it, or null.
  struct Selection {
    int first = 0, k = 0;
    std::vector<int> channels;
  };
  absl::Status Select(const char* what, const std::vector<Selection>& places, TileBuffer& tiles, KeptBuffer& kept,
                      const std::function<float*(int worker, int place)>& guess);

  size_t bytes() const;

 private:
  // What a rank sends of other owners' tiles stands in their order, its own tiles behind them.
  int Place(int n) const;
  int BeginOf(int tiles, int rank) const { return static_cast<int>(int64_t{tiles} * rank / group_.size()); }
  int tiles_of(int rank) const { return BeginOf(tiles_, rank + 1) - BeginOf(tiles_, rank); }
  // Every tile's `to_owner` bytes in send_ (own ones stay) reach its owner; those of rank r, from_rank[r] a tile, come
  // to receive_. The answer goes the other way: from reply_, and to answer_.
  absl::Status ToOwners(const char* what, size_t to_owner, const std::vector<size_t>& from_rank);
  absl::Status FromOwners(const char* what, size_t from_owner, const std::vector<size_t>& to_rank);
  // Where rank r's run for own tile i begins in receive_ or reply_: both hold the other ranks' runs, one after the
  // other.
  size_t RunOf(int rank, int i, const std::vector<size_t>& bytes) const;

  struct Selecting;
  void SelectTile(const Selecting& run, int i, int worker);

  TensorGroup& group_;
  kernels::ThreadPool& pool_;
  std::vector<std::vector<int>> subtrees_;  // of every rank: how many groups each of its pieces has
  int tiles_ = 0;
  kernels::Buffer<std::byte> send_, receive_, reply_, answer_;
  std::vector<kernels::Buffer<float>> scratch_;   // one a thread
  std::vector<kernels::Buffer<uint64_t>> words_;  // likewise
  // The sum under way.
  int channels_ = 0;
  const KeptBuffer* kept_ = nullptr;
  size_t piece_floats_ = 0;
};

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_TILE_EXCHANGE_H_
