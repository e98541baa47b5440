#include "worker/exchange/tree_sum.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/adam/adam.h"
#include "kernels/base/check.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {
namespace {

constexpr int64_t kBlock = 1 << 12;     // floats that stay in L1 while the tree is gone through
constexpr int64_t kTask = 16 * kBlock;  // of a thread

int64_t SumOf(const std::vector<int64_t>& counts) { return std::accumulate(counts.begin(), counts.end(), int64_t{0}); }

// Where each rank's part begins when they stand one after another.
std::vector<int64_t> BeginsOf(const std::vector<int64_t>& counts) {
  std::vector<int64_t> begins(counts.size());
  std::exclusive_scan(counts.begin(), counts.end(), begins.begin(), int64_t{0});
  return begins;
}

void Grow(kernels::Buffer<float>& buffer, int64_t floats) {
  const auto wanted = static_cast<size_t>(floats);
  if (buffer.size() < wanted) buffer = kernels::Buffer<float>(wanted);
}

void Copy(const float* from, int64_t floats, float* to) {
  std::memcpy(to, from, static_cast<size_t>(floats) * sizeof(float));
}

comm::Array FloatsOf(float* values, int64_t count) {
  return comm::ArrayOf(std::span<float>(values, static_cast<size_t>(count)));
}

}  // namespace

TreeSum::TreeSum(comm::Communicator& data, int64_t leaves, kernels::ThreadPool& pool)
    : data_(data), pool_(pool), subtrees_(data.size()) {
  for (int r = 0; r < data.size(); ++r) {
    const parallel::LeafRange range = parallel::LeavesOf(leaves, r, data.size());
    subtrees_[r] = SubtreesOf(range.begin, range.end);
  }
}

absl::Status TreeSum::Sum(const std::vector<GradientTree::Node>& nodes, std::span<const Run> runs,
                          std::span<const int64_t> shares) {
  CHECK(nodes.size() == subtrees_[data_.rank()].size(), "{} subtrees, expected {}", nodes.size(),
        subtrees_[data_.rank()].size());
  Cut(runs, shares);
  absl::StatusOr<std::vector<Part>> parts = GatherParts(nodes);
  if (!parts.ok()) return parts.status();
  float* const out = nodes.front().gradient->data();
  AddParts(*parts, out);
  return GatherShared(out);
}

// Every rank's share of what all get, then what it owns.
void TreeSum::Cut(std::span<const Run> runs, std::span<const int64_t> shares) {
  const int P = data_.size();
  int64_t all = 0;
  for (const Run& run : runs) all += run.owner < 0 ? run.size : 0;
  CHECK(std::ssize(shares) == P && std::accumulate(shares.begin(), shares.end(), int64_t{0}) == all,
        "{} shares of {} floats", shares.size(), all);
  pieces_.clear();
  counts_.assign(P, 0);
  int64_t begin = 0;
  for (int r = 0; r < P; ++r) {
    const int64_t end = begin + shares[r];
    int64_t before = 0;
    for (const Run& run : runs) {
      if (run.owner >= 0) continue;
      const int64_t from = std::max(begin, before), to = std::min(end, before + run.size);
      if (from < to) Add(r, run.begin + from - before, to - from);
      before += run.size;
    }
    begin = end;
  }
  shared_ = counts_;
  for (const Run& run : runs) {
    if (run.owner >= 0) Add(run.owner, run.begin, run.size);
  }
}

void TreeSum::Add(int rank, int64_t begin, int64_t size) {
  for (int64_t at = 0; at < size; at += kTask) {
    const int64_t n = std::min(kTask, size - at);
    pieces_.push_back({rank, begin + at, n, counts_[rank]});
    counts_[rank] += n;
  }
}

template <typename Wanted, typename F>
void TreeSum::ForEach(Wanted wanted, F f) {
  pool_.Run(std::ssize(pieces_), [&](int64_t i, int) {
    if (wanted(pieces_[i])) f(pieces_[i]);
  });
}

// All subtrees in the order of leaves. In round i everybody sends its i-th subtree, where it has one.
absl::StatusOr<std::vector<TreeSum::Part>> TreeSum::GatherParts(const std::vector<GradientTree::Node>& nodes) {
  const int P = data_.size(), rank = data_.rank();
  size_t rounds = 0, all = 0;
  for (const auto& subtrees : subtrees_) {
    rounds = std::max(rounds, subtrees.size());
    all += subtrees.size();
  }
  const int64_t own = counts_[rank];
  Grow(received_, own * static_cast<int64_t>(all - subtrees_[rank].size()));
  std::vector<std::vector<Part>> of_rank(P);
  float* next = received_.data();
  for (size_t round = 0; round < rounds; ++round) {
    std::vector<int64_t> receives(P);
    float* const first = next;
    for (int r = 0; r < P; ++r) {
      if (r == rank || round >= subtrees_[r].size()) continue;
      receives[r] = own;
      of_rank[r].push_back({subtrees_[r][round], nullptr, next});
      next += own;
    }
    float* const arena = round < nodes.size() ? nodes[round].gradient->data() : nullptr;
    if (arena != nullptr) of_rank[rank].push_back({nodes[round].subtree, arena, nullptr});
    if (absl::Status status = SendRound(arena, receives, first); !status.ok()) return status;
  }
  std::vector<Part> parts;
  parts.reserve(all);
  for (const std::vector<Part>& of : of_rank) parts.insert(parts.end(), of.begin(), of.end());
  return parts;
}

// arena: null: nothing to send any more. What this rank adds itself stays where it is.
absl::Status TreeSum::SendRound(const float* arena, const std::vector<int64_t>& receives, float* received) {
  const int rank = data_.rank();
  std::vector<int64_t> sends(data_.size());
  if (arena != nullptr) sends = counts_;
  sends[rank] = 0;
  const std::vector<int64_t> begins = BeginsOf(sends);
  const int64_t sent = SumOf(sends);
  Grow(packed_, sent);
  if (arena != nullptr) {
    ForEach([&](const Piece& piece) { return piece.rank != rank; },
            [&](const Piece& piece) {
              Copy(arena + piece.begin, piece.size, packed_.data() + begins[piece.rank] + piece.offset);
            });
  }
  return data_.AllToAll(FloatsOf(packed_.data(), sent), sends, FloatsOf(received, SumOf(receives)), receives);
}

void TreeSum::AddParts(const std::vector<Part>& parts, float* out) {
  struct Values {
    Subtree subtree;
    float* values = nullptr;
  };
  const auto mine = [&](const Piece& piece) { return piece.rank == data_.rank(); };
  ForEach(mine, [&](const Piece& piece) {
    std::vector<Values> stack;
    stack.reserve(parts.size());
    for (int64_t at = 0; at < piece.size; at += kBlock) {
      const int64_t n = std::min(kBlock, piece.size - at);
      const auto add = [n](const Values& below, const Values& top) {
        kernels::AddInPlace(top.values, n, below.values);
      };
      stack.clear();
      for (const Part& part : parts) {
        float* const run = part.arena != nullptr ? part.arena + piece.begin : part.received + piece.offset;
        stack.push_back({part.subtree, run + at});
        Collapse(stack, /*all=*/false, add);
      }
      Collapse(stack, /*all=*/true, add);
      float* const to = out + piece.begin + at;
      if (stack.front().values != to) Copy(stack.front().values, n, to);
    }
  });
}

absl::Status TreeSum::GatherShared(float* out) {
  const int64_t all = SumOf(shared_);
  if (all == 0) return absl::OkStatus();
  const int rank = data_.rank();
  const std::vector<int64_t> begins = BeginsOf(shared_);
  Grow(packed_, all);
  const auto at = [&](const Piece& piece) { return packed_.data() + begins[piece.rank] + piece.offset; };
  const auto shared = [&](const Piece& piece) { return piece.offset < shared_[piece.rank]; };
  ForEach([&](const Piece& piece) { return shared(piece) && piece.rank == rank; },
          [&](const Piece& piece) { Copy(out + piece.begin, piece.size, at(piece)); });
  absl::Status status =
      data_.AllGather(FloatsOf(packed_.data() + begins[rank], shared_[rank]), shared_, FloatsOf(packed_.data(), all));
  if (!status.ok()) return status;
  ForEach([&](const Piece& piece) { return shared(piece) && piece.rank != rank; },
          [&](const Piece& piece) { Copy(at(piece), piece.size, out + piece.begin); });
  return absl::OkStatus();
}

}  // namespace filigree::exchange
