#include "worker/exchange/surviving_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "kernels/base/check.h"
#include "kernels/gradcodec/coded_entries.h"
#include "kernels/weight_topk/entry.h"
#include "worker/exchange/byte_sections.h"

namespace filigree::exchange {
namespace {

int64_t EntriesOf(const std::vector<MatrixPart>& parts) {
  int64_t entries = 0;
  for (const MatrixPart& part : parts) entries += part.slice.numel();
  return entries;
}

struct Survivors {
  std::vector<uint32_t> indices;  // counted through the parts
  std::vector<float> values;
};

// Columns [col_begin, col_end) of row r: calls f(column) for those kept.
template <typename F>
void ForEachKept(const uint64_t* kept, int64_t first, int64_t n, F f) {
  for (int64_t at = first; at < first + n;) {
    const int64_t next = std::min(first + n, (at / 64 + 1) * 64), size = next - at;
    uint64_t bits = kept[at / 64] >> (at % 64);
    if (size < 64) bits &= (uint64_t{1} << size) - 1;
    for (; bits != 0; bits &= bits - 1) f(at - first + std::countr_zero(bits));
    at = next;
  }
}

Survivors Collect(const SurvivingMatrix& matrix, int rank) {
  Survivors survivors;
  int64_t before = 0;  // entries of the parts and rows so far
  for (const MatrixPart& part : matrix.parts[rank]) {
    const Slice& slice = part.slice;
    for (int64_t r = slice.row_begin; r < slice.row_end; ++r, before += slice.cols()) {
      const float* row = part.row(r);
      ForEachKept(matrix.kept, r * matrix.cols + slice.col_begin, slice.cols(), [&](int64_t c) {
        survivors.indices.push_back(static_cast<uint32_t>(before + c));
        survivors.values.push_back(row[c]);
      });
    }
  }
  return survivors;
}

// The matrix is cleared before: whatever is not among the survivors is 0 and not kept.
void Clear(const SurvivingMatrix& matrix) {
  std::fill_n(matrix.kept, (matrix.rows * matrix.cols + 63) / 64, 0);
  for (const std::vector<MatrixPart>& parts : matrix.parts) {
    for (const MatrixPart& part : parts) {
      for (int64_t r = part.slice.row_begin; r < part.slice.row_end; ++r) {
        std::fill_n(part.row(r), part.slice.cols(), 0.0f);
      }
    }
  }
}

void Put(const SurvivingMatrix& matrix, int rank, const Survivors& survivors) {
  size_t next = 0;
  int64_t before = 0;
  for (const MatrixPart& part : matrix.parts[rank]) {
    const Slice& slice = part.slice;
    const int64_t end = before + slice.numel();
    for (; next < survivors.indices.size() && survivors.indices[next] < end; ++next) {
      const int64_t at = survivors.indices[next] - before, r = slice.row_begin + at / slice.cols(),
                    c = at % slice.cols();
      part.row(r)[c] = survivors.values[next];
      kernels::Keep(r * matrix.cols + slice.col_begin + c, matrix.kept);
    }
    before = end;
  }
}

absl::Status Decode(std::span<const uint8_t> bytes, int64_t entries, Survivors& survivors) {
  const absl::StatusOr<int64_t> count = kernels::EntryCount<float>(bytes, entries);
  if (!count.ok()) return count.status();
  survivors.indices.resize(*count);
  survivors.values.resize(*count);
  return kernels::DecodeEntries<float>(bytes, entries, survivors.indices, survivors.values);
}

}  // namespace

absl::Status GatherSurvivingWeights(comm::Communicator& ranks, std::span<const SurvivingMatrix> matrices,
                                    kernels::ThreadPool& pool) {
  const int rank = ranks.rank();
  const auto count = std::ssize(matrices);
  std::vector<Survivors> own(count);
  std::vector<int64_t> lengths(count);
  pool.Run(count, [&](int64_t m, int) {
    const SurvivingMatrix& matrix = matrices[m];
    CHECK(std::ssize(matrix.parts) == ranks.size(), "parts of {} ranks among {}", matrix.parts.size(), ranks.size());
    own[m] = Collect(matrix, rank);
    lengths[m] = kernels::CodedEntriesBytes<float>(own[m].indices, EntriesOf(matrix.parts[rank]));
  });
  SectionedMessage message(lengths);
  pool.Run(count, [&](int64_t m, int) {
    kernels::EncodeEntries<float>(own[m].indices, own[m].values, EntriesOf(matrices[m].parts[rank]),
                                  message.sections[m]);
  });
  const auto received = ranks.AllGatherStrings(message.bytes);
  if (!received.ok()) return received.status();
  std::vector<std::vector<std::span<const uint8_t>>> sections(received->size());
  for (size_t r = 0; r < received->size(); ++r) {
    auto of_rank = SectionsOf((*received)[r], matrices.size(), static_cast<int>(r));
    if (!of_rank.ok()) return of_rank.status();
    sections[r] = *std::move(of_rank);
  }
  std::vector<absl::Status> statuses(count);
  pool.Run(count, [&](int64_t m, int) {
    Clear(matrices[m]);
    for (int r = 0; r < ranks.size() && statuses[m].ok(); ++r) {
      Survivors survivors;
      if (r != rank) statuses[m] = Decode(sections[r][m], EntriesOf(matrices[m].parts[r]), survivors);
      if (statuses[m].ok()) Put(matrices[m], r, r == rank ? own[m] : survivors);
    }
  });
  for (int64_t m = 0; m < count; ++m) {
    if (statuses[m].ok()) continue;
    return absl::InvalidArgumentError(
        fmt::format("surviving weights of matrix {}: {}", m, std::string(statuses[m].message())));
  }
  return absl::OkStatus();
}

}  // namespace filigree::exchange
