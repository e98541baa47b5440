#include "worker/model/linear.h"

#include <algorithm>
#include <utility>

#include "kernels/activation/activation.h"
#include "kernels/base/buffer.h"
#include "kernels/base/sum_tree.h"
#include "kernels/gemm/gemm.h"
#include "kernels/spmm/spmm.h"

namespace filigree::model {

using kernels::ConstTile;
using kernels::Tile;
using Over = SumGroups::Over;

Linear::Linear(int out, int in, SumGroups groups) : out_(out), in_(in), groups_(std::move(groups)) {}

void Linear::Set(const StoredMatrix& matrix, const float* bias, kernels::ThreadPool& pool) {
  w_ = matrix.w;
  bias_ = bias;
  on_candidates_ = matrix.candidates != nullptr;
  sparse_ = !on_candidates_ && matrix.kept != nullptr && IsSparse(matrix.nonzeros, matrix.whole);
  if (on_candidates_) {
    SetCandidates(matrix, pool);
  } else if (sparse_) {
    rows_.BuildFromDense(w_, matrix.kept, out_, in_, pool);
    columns_.BuildTranspose(rows_.view(), pool);
  }
  if (groups_.over == Over::kNothing || !(on_candidates_ || sparse_)) return;
  offsets_.Build(Entries(), groups_.stripes, groups_.bounds, pool);
}

int64_t Linear::BytesOf(int64_t out, int64_t in, int64_t candidates, int64_t nonzeros, int threads) {
  if (candidates > 0) return kernels::CandidateMatrix::BytesOf(out, in, candidates, nonzeros, threads);
  if (!IsSparse(nonzeros, out * in)) return 0;
  return kernels::Csr::BytesOf(out, nonzeros) + kernels::Csr::BytesOfTranspose(out, in, nonzeros, threads);
}

void Linear::SetCandidates(const StoredMatrix& matrix, kernels::ThreadPool& pool) {
  if (version_ != matrix.version) {
    rows_ = kernels::Csr();
    columns_ = kernels::Csr();
    sampled_.SetPattern(*matrix.candidates, pool);
    version_ = matrix.version;
  }
  sampled_.SetWeights(matrix.w, matrix.kept, pool);
}

void Linear::ForwardPiece(int piece, const LinearInput& x, Tile y) const {
  if (groups_.over == Over::kInputs) {
    SumPiece(piece, x.floats, piece == 0 ? bias_ : nullptr, y);
  } else if (on_candidates_ || sparse_) {
    const kernels::CsrView w = on_candidates_ ? sampled_.rows() : rows_.view();
    if (x.bf16.data != nullptr) {
      kernels::Spmm(w, x.bf16, bias_, y);
    } else {
      kernels::Spmm(w, x.floats, bias_, y);
    }
  } else {
    kernels::GemmForward(w_, out_, in_, x.floats, bias_, y);
  }
}

void Linear::BackwardPiece(int piece, ConstTile dy, Tile dx) const {
  if (groups_.over == Over::kOutputs) {
    SumPiece(piece, dy, nullptr, dx);
  } else if (on_candidates_) {
    sampled_.Backward(dy, dx);
  } else if (sparse_) {
    kernels::Spmm(columns_.view(), dy, nullptr, dx);
  } else {
    kernels::GemmBackward(w_, out_, in_, dy, dx);
  }
}

// The entries by the side whose sums are grouped: rows of W, or of its transpose.
kernels::CsrView Linear::Entries() const {
  if (groups_.over == Over::kInputs) return on_candidates_ ? sampled_.rows() : rows_.view();
  return on_candidates_ ? sampled_.columns() : columns_.view();
}

// The sum of a subtree of groups; start: added to its first group, or null.
void Linear::SumPiece(int piece, ConstTile x, const float* start, Tile y) const {
  int first = 0;
  for (int i = 0; i < piece; ++i) first += groups_.pieces[i];
  const int count = groups_.pieces[piece];
  if (on_candidates_ || sparse_) {
    kernels::SpmmGroups(offsets_.View(Entries()), first, count, x, start, y);
    return;
  }
  // Node 0 of the tree is y, the others are scratch.
  static thread_local kernels::Buffer<float> scratch;
  const size_t wanted = (kernels::SumTree::MostNodes(count) - 1) * y.size();
  if (scratch.size() < wanted) scratch = kernels::Buffer<float>(wanted);
  const auto node = [&](int depth) {
    return depth == 0 ? y : Tile{scratch.data() + (depth - 1) * y.size(), y.channels};
  };
  const auto add = [&](int below, int top) { kernels::Accumulate(node(top), node(below)); };
  kernels::SumTree tree;
  for (int g = first; g < first + count; ++g) {
    SumGroup(g, x, g == first ? start : nullptr, node(tree.depth()));
    tree.Push(1, add);
  }
  tree.Finish(add);
}

// One group of a dense matrix, its stripes one after the other.
void Linear::SumGroup(int group, ConstTile x, const float* start, Tile y) const {
  const int begin = groups_.bounds[group], size = groups_.bounds[group + 1] - begin;
  if (size == 0) {
    for (int c = 0; c < y.channels; ++c)
      std::fill_n(y.row(c), kernels::kTileTokens, start == nullptr ? 0.0f : start[c]);
    return;
  }
  if (groups_.over == Over::kInputs) {
    kernels::GemmForward(w_ + begin, in_, out_, size, x.rows(begin, size), start, y);
    return;
  }
  const int stripe = out_ / groups_.stripes;
  for (int s = 0; s < groups_.stripes; ++s) {
    const int row = s * stripe + begin;
    kernels::GemmBackward(w_ + int64_t{row} * in_, size, in_, x.rows(row, size),
                          s == 0 ? kernels::GemmWrite::kOverwrite : kernels::GemmWrite::kAdd, y);
  }
}

void Linear::BackwardWithGradient(ConstTile dy, const LinearInput& x, Tile dx, float* partial) const {
  if (groups_.over == Over::kOutputs) {
    Backward(dy, dx);
    dx = Tile{};
  }
  if (x.bf16.data != nullptr) {
    sampled_.BackwardWithGradient(dy, x.bf16, dx, partial);
  } else {
    sampled_.BackwardWithGradient(dy, x.floats, dx, partial);
  }
}

void Linear::AddGradient(ConstTile dy, const LinearInput& x, float* partial) const {
  if (x.bf16.data != nullptr) {
    sampled_.BackwardWithGradient(dy, x.bf16, Tile{}, partial);
  } else {
    sampled_.BackwardWithGradient(dy, x.floats, Tile{}, partial);
  }
}

}  // namespace filigree::model
