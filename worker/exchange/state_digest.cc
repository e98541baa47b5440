#include "worker/exchange/state_digest.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>

namespace filigree::exchange {
namespace {

using kernels::Digest;
using model::TensorInfo;

constexpr int64_t kValuesPerTask = int64_t{1} << 16;

// Local columns [begin, end) of local row r, as runs whose indices in the whole tensor are consecutive:
// f(begin, end, index of begin).
template <typename F>
void ForEachRunOfRow(const TensorInfo& info, int64_t r, int64_t begin, int64_t end, F f) {
  const int64_t run = info.shared ? std::max<int64_t>(1, info.cols / info.col_range.stripes) : info.cols;
  while (begin < end) {
    const int64_t stop = std::min(end, (begin / run + 1) * run);
    f(begin, stop, static_cast<uint32_t>(info.WholeIndex(r * info.cols + begin)));
    begin = stop;
  }
}

// The first entry of a row that is in column `col` or beyond.
uint32_t EntryAt(const kernels::PatternView& pattern, int64_t r, int64_t col) {
  if (col == 0) return pattern.row_offsets[r];
  if (col == pattern.cols) return pattern.row_offsets[r + 1];
  const uint16_t *begin = pattern.col_indices + pattern.row_offsets[r],
                 *end = pattern.col_indices + pattern.row_offsets[r + 1];
  return static_cast<uint32_t>(std::lower_bound(begin, end, col) - pattern.col_indices);
}

// Adds stored values of the arrays that there are.
class Stored {
 public:
  Stored(const DigestedTensor& tensor, TensorDigests& digests) : tensor_(tensor), digests_(digests) {
    const float* arrays[] = {tensor.weights, tensor.first_moments, tensor.second_moments};
    for (int a = 0; a < 3; ++a) {
      if (arrays[a] == nullptr) continue;
      arrays_[count_] = arrays[a];
      component_[count_++] = a;
    }
  }

  // Values [begin, end).
  void Add(int64_t begin, int64_t end) {
    if (begin >= end) return;
    if (tensor_.candidates != nullptr) return AddCandidates(begin, end);
    const int64_t cols = tensor_.info->cols;
    Digest sums[3];
    for (int64_t r = begin / cols; r * cols < end; ++r) {
      const int64_t first = std::max<int64_t>(0, begin - r * cols), last = std::min(cols, end - r * cols);
      ForEachRunOfRow(*tensor_.info, r, first, last,
                      [&](int64_t col, int64_t stop, uint32_t index) { AddWhole(r, col, stop, index, sums); });
    }
    for (int a = 0; a < count_; ++a) digests_.of[component_[a]] += sums[a];
  }

 private:
  void AddWhole(int64_t r, int64_t begin, int64_t end, uint32_t index, Digest* sums) {
    const float* at[3];
    const int64_t first = r * tensor_.info->cols + begin;
    for (int a = 0; a < count_; ++a) at[a] = arrays_[a] + first;
    if (count_ > 0) kernels::AddToDigests(at, count_, end - begin, index, sums);
    AddMask(first, end - begin, [&](int64_t j) { return index + static_cast<uint32_t>(j); });
  }
  void AddCandidates(int64_t begin, int64_t end) {
    const std::vector<kernels::EntryRun> runs = RunsOf(static_cast<uint32_t>(begin), static_cast<uint32_t>(end));
    kernels::EntryDigests sums;
    const kernels::EntryArrays of = {arrays_, count_, tensor_.candidates->col_indices, tensor_.kept};
    kernels::AddEntries(of, runs.data(), std::ssize(runs), sums);
    for (int a = 0; a < count_; ++a) digests_.of[component_[a]] += sums.arrays[a];
    Of(Component::kCandidates) += sums.entries;
    Of(Component::kMask) += sums.kept;
  }
  // Entries [begin, end), row by row.
  std::vector<kernels::EntryRun> RunsOf(uint32_t begin, uint32_t end) const {
    const kernels::PatternView& pattern = *tensor_.candidates;
    const uint32_t* offsets = pattern.row_offsets;
    int64_t r = std::upper_bound(offsets, offsets + pattern.rows + 1, begin) - offsets - 1;
    std::vector<kernels::EntryRun> runs;
    for (; r < pattern.rows && offsets[r] < end; ++r) {
      ForEachRunOfRow(*tensor_.info, r, 0, tensor_.info->cols, [&](int64_t col, int64_t stop, uint32_t index) {
        const uint32_t first = std::max(begin, EntryAt(pattern, r, col)),
                       last = std::min(end, EntryAt(pattern, r, stop));
        if (first < last) runs.push_back({first, last, index - static_cast<uint32_t>(col)});
      });
    }
    return runs;
  }
  // Bits [first, first + n) of the mask; index(j): that of bit first + j.
  template <typename Index>
  void AddMask(int64_t first, int64_t n, Index index) {
    if (tensor_.kept == nullptr) return;
    for (int64_t at = first; at < first + n;) {
      const int64_t next = std::min(first + n, (at / 64 + 1) * 64), size = next - at;
      uint64_t bits = tensor_.kept[at / 64] >> (at % 64);
      if (size < 64) bits &= (uint64_t{1} << size) - 1;
      for (; bits != 0; bits &= bits - 1) Of(Component::kMask).Add(index(at - first + std::countr_zero(bits)), 1);
      at = next;
    }
  }
  Digest& Of(Component component) { return digests_.of[static_cast<int>(component)]; }

  const DigestedTensor& tensor_;
  TensorDigests& digests_;
  const float* arrays_[3] = {};
  int component_[3] = {}, count_ = 0;
};

struct Task {
  size_t tensor;
  int64_t begin, end;  // stored values
};

}  // namespace

const char* Name(Component component) {
  static constexpr const char* kNames[] = {"weights", "first moments", "second moments", "mask", "candidates"};
  return kNames[static_cast<int>(component)];
}

std::vector<TensorDigests> StateDigests(std::span<const DigestedTensor> tensors, kernels::ThreadPool& pool) {
  std::vector<Task> tasks;
  std::vector<TensorDigests> digests(tensors.size());
  for (size_t t = 0; t < tensors.size(); ++t) {
    const TensorInfo& info = *tensors[t].info;
    digests[t].name = info.name;
    const int64_t values = tensors[t].candidates == nullptr ? info.numel() : tensors[t].candidates->nnz();
    for (int64_t begin = 0; begin < values; begin += kValuesPerTask) {
      tasks.push_back({t, begin, std::min(values, begin + kValuesPerTask)});
    }
  }
  std::vector<TensorDigests> parts(tasks.size());
  pool.Run(std::ssize(tasks),
           [&](int64_t i, int) { AddStored(tensors[tasks[i].tensor], tasks[i].begin, tasks[i].end, parts[i]); });
  for (size_t i = 0; i < tasks.size(); ++i) digests[tasks[i].tensor] += parts[i];
  return digests;
}

void AddStored(const DigestedTensor& tensor, int64_t begin, int64_t end, TensorDigests& digests) {
  Stored(tensor, digests).Add(begin, end);
}

TensorDigests& TensorDigests::operator+=(const TensorDigests& part) {
  for (int c = 0; c < kComponents; ++c) of[c] += part.of[c];
  return *this;
}

Digest PartsDigest(const TensorInfo& info, std::span<const MatrixPart> parts, kernels::ThreadPool& pool) {
  Digest digest;
  for (const MatrixPart& part : parts) {
    const Slice& slice = part.slice;
    if (slice.numel() == 0) continue;
    const int64_t rows_a_task = std::max<int64_t>(1, kValuesPerTask / slice.cols());
    std::vector<Digest> sums((slice.rows() + rows_a_task - 1) / rows_a_task);
    pool.Run(std::ssize(sums), [&](int64_t i, int) {
      const int64_t begin = slice.row_begin + i * rows_a_task, end = std::min(slice.row_end, begin + rows_a_task);
      for (int64_t r = begin; r < end; ++r) {
        ForEachRunOfRow(info, r, slice.col_begin, slice.col_end, [&](int64_t first, int64_t last, uint32_t index) {
          const float* at = part.row(r) + first - slice.col_begin;
          kernels::AddToDigests(&at, 1, last - first, index, &sums[i]);
        });
      }
    });
    for (const Digest& sum : sums) digest += sum;
  }
  return digest;
}

Digest Together(std::span<const TensorDigests> digests) {
  std::string bytes;
  for (const TensorDigests& tensor : digests) {
    const uint64_t length = tensor.name.size();
    bytes.append(reinterpret_cast<const char*>(&length), sizeof(length));
    bytes += tensor.name;
    bytes.append(reinterpret_cast<const char*>(tensor.of), sizeof(tensor.of));
  }
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.low64, hash.high64};
}

Digest Together(std::span<const TensorDigests> digests, std::span<const Component> components) {
  std::vector<TensorDigests> some;
  some.reserve(digests.size());
  for (const TensorDigests& tensor : digests) {
    some.push_back({tensor.name, {}});
    for (const Component c : components) some.back().of[static_cast<int>(c)] = tensor.of[static_cast<int>(c)];
  }
  return Together(some);
}

std::string Hex(const Digest& digest) { return fmt::format("{:016x}{:016x}", digest.first, digest.second); }

}  // namespace filigree::exchange
