#include "worker/exchange/bigram_exchange.h"

#include <algorithm>
#include <bit>

#include "kernels/adam/adam.h"
#include "kernels/base/check.h"
#include "worker/exchange/byte_sections.h"
#include "worker/exchange/coded_rows.h"
#include "worker/parallel/grid.h"

namespace filigree::exchange {
namespace {

bool HasBits(const float* row, int64_t n) {
  uint32_t bits = 0;
  for (int64_t i = 0; i < n; ++i) bits |= std::bit_cast<uint32_t>(row[i]);
  return bits != 0;
}

// The part of an ascending list that lies in [begin, end), counted from begin.
std::vector<uint32_t> Between(const std::vector<uint32_t>& rows, int64_t begin, int64_t end) {
  std::vector<uint32_t> part;
  for (const uint32_t row : rows) {
    if (begin <= row && row < end) part.push_back(static_cast<uint32_t>(row - begin));
  }
  return part;
}

}  // namespace

// One subtree's part of a row while the tree is gone through.
struct BigramExchange::Row {
  Subtree subtree;
  float* values = nullptr;
};

BigramExchange::BigramExchange(comm::Communicator& data, int64_t leaves, const Options& options,
                               kernels::ThreadPool& pool)
    : data_(data), options_(options), pool_(pool), subtrees_(data.size()) {
  for (int r = 0; r < data.size(); ++r) {
    const parallel::LeafRange range = parallel::LeavesOf(leaves, r, data.size());
    subtrees_[r] = SubtreesOf(range.begin, range.end);
  }
  if (options.entries == 0) return;
  const int64_t n = options.rows * options.cols, k = std::min(options.entries, n);
  largest_ = options.balanced ? BalancedTopKSum(data, n, k, WireValue::kBf16, pool)
                              : TopKSum(data, n, k, WireValue::kBf16, pool);
}

absl::Status BigramExchange::Sum(std::span<const Part> parts, std::span<float> residual) {
  CHECK(parts.size() == subtrees_[data_.rank()].size(), "{} subtrees, expected {}", parts.size(),
        subtrees_[data_.rank()].size());
  if (largest_ == nullptr) return SumExactly(parts);
  const int64_t n = options_.rows * options_.cols;
  constexpr int64_t kBlock = 1 << 16;
  pool_.Run((n + kBlock - 1) / kBlock, [&](int64_t block, int) {
    const int64_t begin = block * kBlock, size = std::min(kBlock, n - begin);
    for (size_t p = 1; p < parts.size(); ++p) {
      kernels::AddInPlace(parts[p].gradient + begin, size, parts[0].gradient + begin);
    }
  });
  return largest_->Sum({parts[0].gradient, static_cast<size_t>(n)}, residual);
}

std::vector<std::vector<uint32_t>> BigramExchange::TouchedRows(std::span<const Part> parts) {
  std::vector<std::vector<uint32_t>> touched(parts.size());
  std::vector<uint8_t> has_bits(options_.rows);
  for (size_t p = 0; p < parts.size(); ++p) {
    pool_.Run(options_.rows, [&](int64_t r, int) {
      has_bits[r] = HasBits(parts[p].gradient + r * options_.cols, options_.cols) ? 1 : 0;
    });
    for (int64_t r = 0; r < options_.rows; ++r) {
      if (has_bits[r] != 0) touched[p].push_back(static_cast<uint32_t>(r));
    }
  }
  return touched;
}

// A section a subtree: its touched rows among those of `owner`.
std::string BigramExchange::RowsMessage(std::span<const Part> parts, const std::vector<std::vector<uint32_t>>& touched,
                                        int owner) {
  const int64_t begin = RowBegin(owner), end = RowBegin(owner + 1);
  std::vector<std::vector<uint32_t>> rows;
  std::vector<int64_t> lengths;
  for (size_t p = 0; p < parts.size(); ++p) {
    rows.push_back(Between(touched[p], begin, end));
    lengths.push_back(CodedRowsBytes(rows[p], end - begin, options_.cols));
  }
  SectionedMessage message(lengths);
  for (size_t p = 0; p < parts.size(); ++p) {
    std::vector<const float*> values;
    values.reserve(rows[p].size());
    for (const uint32_t row : rows[p]) values.push_back(parts[p].gradient + (begin + row) * options_.cols);
    EncodeRows(rows[p], end - begin, options_.cols, values, message.sections[p]);
  }
  return std::move(message.bytes);
}

absl::Status BigramExchange::SumExactly(std::span<const Part> parts) {
  const std::vector<std::vector<uint32_t>> touched = TouchedRows(parts);
  std::vector<std::string> messages;
  messages.reserve(data_.size());
  for (int owner = 0; owner < data_.size(); ++owner) messages.push_back(RowsMessage(parts, touched, owner));
  const auto received = ExchangeStrings(data_, messages);
  if (!received.ok()) return received.status();
  const absl::StatusOr<std::string> own = AddOwnRows(*received);
  if (!own.ok()) return own.status();
  const auto sums = data_.AllGatherStrings(*own);
  if (!sums.ok()) return sums.status();
  for (int owner = 0; owner < data_.size(); ++owner) {
    const int64_t begin = RowBegin(owner), end = RowBegin(owner + 1);
    const std::string& bytes = (*sums)[owner];
    const auto rows =
        DecodeRows({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, end - begin, options_.cols);
    if (!rows.ok()) return rows.status();
    // Rows that nobody touched are +0 here too.
    for (size_t i = 0; i < rows->rows.size(); ++i) {
      rows->CopyRow(i, options_.cols, parts[0].gradient + (begin + rows->rows[i]) * options_.cols);
    }
  }
  return absl::OkStatus();
}

// The tree of every row that somebody touched, with +0 for subtrees that did not: as the dense sum would add them.
absl::StatusOr<std::string> BigramExchange::AddOwnRows(const std::vector<std::string>& received) {
  const int64_t cols = options_.cols, bound = RowBegin(data_.rank() + 1) - RowBegin(data_.rank());
  std::vector<Subtree> subtrees;
  std::vector<CodedRows> coded;
  for (size_t r = 0; r < received.size(); ++r) {
    const auto sections = SectionsOf(received[r], subtrees_[r].size(), static_cast<int>(r));
    if (!sections.ok()) return sections.status();
    for (size_t p = 0; p < sections->size(); ++p) {
      absl::StatusOr<CodedRows> rows = DecodeRows((*sections)[p], bound, cols);
      if (!rows.ok()) return rows.status();
      subtrees.push_back(subtrees_[r][p]);
      coded.push_back(*std::move(rows));
    }
  }
  constexpr int64_t kAbsent = -1;
  std::vector<std::vector<int64_t>> place(coded.size(), std::vector<int64_t>(bound, kAbsent));  // of a row in coded
  std::vector<uint8_t> touched(bound);
  for (size_t p = 0; p < coded.size(); ++p) {
    for (size_t i = 0; i < coded[p].rows.size(); ++i) {
      place[p][coded[p].rows[i]] = static_cast<int64_t>(i);
      touched[coded[p].rows[i]] = 1;
    }
  }
  std::vector<uint32_t> rows;
  for (int64_t row = 0; row < bound; ++row) {
    if (touched[row] != 0) rows.push_back(static_cast<uint32_t>(row));
  }
  std::vector<float> sums(rows.size() * static_cast<size_t>(cols));
  std::vector<std::vector<float>> scratch(pool_.threads());
  pool_.Run(std::ssize(rows), [&](int64_t i, int worker) {
    std::vector<float>& values = scratch[worker];
    values.assign(coded.size() * static_cast<size_t>(cols), 0.0f);
    std::vector<Row> stack;
    const auto add = [cols](const Row& below, const Row& top) { kernels::AddInPlace(top.values, cols, below.values); };
    for (size_t p = 0; p < coded.size(); ++p) {
      float* row = values.data() + p * static_cast<size_t>(cols);
      if (const int64_t at = place[p][rows[i]]; at != kAbsent) coded[p].CopyRow(static_cast<size_t>(at), cols, row);
      stack.push_back({subtrees[p], row});
      Collapse(stack, /*all=*/false, add);
    }
    Collapse(stack, /*all=*/true, add);
    std::copy_n(stack.front().values, cols, sums.data() + i * cols);
  });
  std::vector<const float*> values;
  values.reserve(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) values.push_back(sums.data() + i * static_cast<size_t>(cols));
  std::string bytes(static_cast<size_t>(CodedRowsBytes(rows, bound, cols)), '\0');
  EncodeRows(rows, bound, cols, values, {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()});
  return bytes;
}

}  // namespace filigree::exchange
