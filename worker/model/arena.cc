#include "worker/model/arena.h"

#include <sys/mman.h>

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/base/random.h"

namespace filigree::model {
namespace {

// May tensors be moved one after the other, in the order of the arena, without overwriting what is still to be moved?
bool MovesForward(const Layout& before, const Layout& after) {
  std::vector<int> order(after.size());
  for (int i = 0; i < after.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return std::pair(before.offset(a), a) < std::pair(before.offset(b), b); });
  for (size_t i = 0; i < order.size(); ++i) {
    const int t = order[i];
    if (after.offset(t) > before.offset(t)) return false;
    if (i + 1 == order.size()) break;
    const int next = order[i + 1];
    if (after.offset(next) < after.offset(t) || after.offset(t) + after.stored(t) > before.offset(next)) return false;
  }
  return after.floats() <= before.floats();
}

// Entries of one row of a matrix: its columns and where the first value stands.
struct RowEntries {
  const uint16_t* columns = nullptr;  // null: all of them
  int64_t begin = 0, end = 0;

  int64_t column(int64_t e) const { return columns == nullptr ? e - begin : columns[e]; }
};

RowEntries RowOf(const kernels::PatternView* candidates, int64_t row, int64_t cols) {
  if (candidates == nullptr) return {nullptr, row * cols, (row + 1) * cols};
  return {candidates->col_indices, candidates->row_offsets[row], candidates->row_offsets[row + 1]};
}

// Large buffers alone are of pages of their own; others do not matter.
void AvoidHugePages(kernels::Buffer<float>& buffer) {
  constexpr size_t kHugePage = 2 << 20;
  const size_t bytes = buffer.size() * sizeof(float);
  if (bytes >= kHugePage) madvise(buffer.data(), bytes, MADV_NOHUGEPAGE);
}

}  // namespace

void Arena::UseSmallPages() {
  small_pages_ = true;
  AvoidHugePages(data_);
}

kernels::Buffer<float> Arena::NewBuffer(size_t size) const {
  kernels::Buffer<float> buffer(size);
  if (small_pages_) AvoidHugePages(buffer);
  return buffer;
}

kernels::Buffer<uint32_t> SourcesOf(const kernels::PatternView* before, const kernels::PatternView& after) {
  kernels::Buffer<uint32_t> sources(static_cast<size_t>(after.nnz()));
  for (int64_t r = 0; r < after.rows; ++r) {
    const RowEntries old = RowOf(before, r, after.cols);
    int64_t from = old.begin;
    for (uint32_t e = after.row_offsets[r]; e < after.row_offsets[r + 1]; ++e) {
      while (from < old.end && old.column(from) < after.col_indices[e]) ++from;
      const bool was = from < old.end && old.column(from) == after.col_indices[e];
      sources[e] = was ? static_cast<uint32_t>(from) : kNoSource;
    }
  }
  return sources;
}

void KeepOnly(const std::vector<bool>& tensors, Arena& arena) {
  const Layout& layout = arena.layout();
  CHECK(static_cast<int>(tensors.size()) == layout.size(), "{} tensors of {}", tensors.size(), layout.size());
  arena.small_pages_ = true;
  kernels::Buffer<float> kept = arena.NewBuffer(arena.data_.size());
  for (int t = 0; t < layout.size(); ++t) {
    if (tensors[t]) std::copy_n(arena.data() + layout.offset(t), layout.stored(t), kept.data() + layout.offset(t));
  }
  arena.data_ = std::move(kept);
}

void Move(const Layout& before, const Sources& sources, kernels::ThreadPool& pool, Arena& arena) {
  const Layout& after = arena.layout();
  CHECK(before.size() == after.size() && static_cast<int>(sources.of.size()) == after.size(), "{} tensors, {} sources",
        after.size(), sources.of.size());
  const bool in_place = MovesForward(before, after);
  kernels::Buffer<float> fresh = arena.NewBuffer(in_place ? 0 : static_cast<size_t>(after.floats()));
  float* to = in_place ? arena.data() : fresh.data();
  kernels::Buffer<float> gathered;
  std::vector<int> order(after.size());
  for (int i = 0; i < after.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return std::pair(before.offset(a), a) < std::pair(before.offset(b), b); });
  constexpr int64_t kBlock = 1 << 14;
  // f(begin, end) of parts of n values, by all threads.
  const auto in_blocks = [&](int64_t n, auto f) {
    pool.Run((n + kBlock - 1) / kBlock,
             [&](int64_t block, int) { f(block * kBlock, std::min(n, (block + 1) * kBlock)); });
  };
  for (const int t : order) {
    if (!sources.needed.empty() && !sources.needed[t]) continue;
    const float* from = arena.data() + before.offset(t);
    const uint32_t* source = sources.of[t];
    const int64_t n = after.stored(t);
    float* out = to + after.offset(t);
    if (source == nullptr) {
      CHECK(n == before.stored(t), "tensor {}: {} values were {}", t, n, before.stored(t));
      if (out != from) std::copy_n(from, n, out);  // forwards, also where the two overlap
      continue;
    }
    if (static_cast<int64_t>(gathered.size()) < n) gathered = kernels::Buffer<float>(static_cast<size_t>(n));
    const bool some = before.stored(t) > 0;
    in_blocks(n, [&](int64_t begin, int64_t end) {
      for (int64_t e = begin; e < end; ++e) {  // without branches on who is new, as that is chance
        const bool is_new = source[e] == kNoSource;
        const float value = some ? from[is_new ? 0 : source[e]] : 0.0f;
        gathered[e] = is_new ? 0.0f : value;
      }
    });
    in_blocks(n, [&](int64_t begin, int64_t end) { std::copy(&gathered[begin], gathered.data() + end, out + begin); });
  }
  if (!in_place) arena.data_ = std::move(fresh);
}

void ClearPadding(Arena& arena) {
  const Layout& layout = arena.layout();
  std::vector<std::pair<int64_t, int64_t>> tensors;  // begin and end
  tensors.reserve(layout.size());
  for (int t = 0; t < layout.size(); ++t) tensors.emplace_back(layout.offset(t), layout.offset(t) + layout.stored(t));
  std::sort(tensors.begin(), tensors.end());
  int64_t end = 0;
  for (const auto& [begin, next] : tensors) {
    std::fill(arena.data() + end, arena.data() + begin, 0.0f);
    end = next;
  }
  std::fill(arena.data() + end, arena.data() + layout.floats(), 0.0f);
}

void InitialiseWeights(const Registry& registry, uint64_t seed, kernels::ThreadPool& pool, Arena& weights) {
  constexpr int64_t kBlock = 1 << 14;
  for (const TensorInfo& info : registry.tensors()) {
    if (weights.layout().stored(info.index) != info.numel()) continue;
    const kernels::CounterRng rng(seed, kernels::StreamOf(info.name.c_str()));
    float* w = weights.tensor(info);
    const auto draw = [&](int64_t i) -> float {
      switch (info.init) {
        case Init::kZero:
          return 0.0f;
        case Init::kOne:
          return 1.0f;
        case Init::kNormal:
          return static_cast<float>(info.init_scale * rng.Normal(i));
        case Init::kUniform:
          return static_cast<float>(info.init_scale * rng.Uniform(i));
      }
      return 0.0f;
    };
    pool.Run((info.numel() + kBlock - 1) / kBlock, [&](int64_t block, int) {
      const int64_t end = std::min((block + 1) * kBlock, info.numel());
      for (int64_t i = block * kBlock; i < end; ++i) w[i] = draw(info.WholeIndex(i));
    });
  }
}

}  // namespace filigree::model
