#include "worker/data/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <queue>
#include <unordered_set>

#include "kernels/base/check.h"
#include "worker/data/byte_alphabet.h"
#include "worker/data/pre_tokenizer.h"
#include "worker/data/sha256.h"
#include "worker/data/tokenizer_files.h"

namespace filigree::data {
namespace {

constexpr uint16_t kNoMerge = 0xFFFF;  // above every id, as kMaxVocab is 65535
constexpr size_t kShort = 48;          // below, a scan for the lowest rank beats a heap

uint32_t PairKey(uint16_t left, uint16_t right) { return uint32_t{left} << 16 | right; }

std::vector<std::string> SingleBytes() {
  std::vector<std::string> tokens;
  for (const uint8_t byte : BytesInIdOrder()) tokens.emplace_back(1, static_cast<char>(byte));
  return tokens;
}

}  // namespace

absl::StatusOr<Tokenizer> Tokenizer::FromMerges(std::vector<Merge> merges) {
  if (merges.size() > kMaxVocab - kMinVocab) {
    return absl::InvalidArgumentError(fmt::format("{} merges make a vocabulary above {}", merges.size(), kMaxVocab));
  }
  Tokenizer tokenizer;
  tokenizer.bytes_ = SingleBytes();
  tokenizer.bytes_.reserve(merges.size() + kMinVocab);
  std::unordered_set<std::string> known(tokenizer.bytes_.begin(), tokenizer.bytes_.end());
  size_t total = 0;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto [left, right] = merges[rank];
    const size_t id = tokenizer.bytes_.size();
    if (left >= id || right >= id) {
      return absl::InvalidArgumentError(
          fmt::format("merge {} joins ids {} and {}, but only ids below {} exist there", rank, left, right, id));
    }
    std::string joined = tokenizer.bytes_[left] + tokenizer.bytes_[right];
    total += joined.size();
    if (joined.size() > kMaxTokenBytes || total > kMaxVocabBytes) {
      return absl::InvalidArgumentError(
          fmt::format("merge {} makes a token of {} bytes, {} in all; the limits are {} and {}", rank, joined.size(),
                      total, kMaxTokenBytes, kMaxVocabBytes));
    }
    if (!known.insert(joined).second) {
      return absl::InvalidArgumentError(
          fmt::format("merge {} makes \"{}\", which is a token already", rank, ToPrintable(joined)));
    }
    tokenizer.bytes_.push_back(std::move(joined));
    tokenizer.merge_id_.emplace(PairKey(left, right), static_cast<uint16_t>(id));
  }
  tokenizer.merges_ = std::move(merges);
  tokenizer.digest_ = Sha256Hex(FormatTokenizerJson(tokenizer.merges_, tokenizer.bytes_));
  tokenizer.bytes_.emplace_back(kEndOfText);
  return tokenizer;
}

uint16_t Tokenizer::MergedId(uint16_t left, uint16_t right) const {
  const auto found = merge_id_.find(PairKey(left, right));
  return found == merge_id_.end() ? kNoMerge : found->second;
}

size_t Tokenizer::MergeShort(uint16_t* ids, size_t count) const {
  std::array<uint16_t, kShort> merged{};  // merged[i]: what ids[i] and ids[i + 1] make
  for (size_t i = 0; i + 1 < count; ++i) merged[i] = MergedId(ids[i], ids[i + 1]);
  while (count > 1) {
    const size_t at = std::min_element(merged.begin(), merged.begin() + count - 1) - merged.begin();
    if (merged[at] == kNoMerge) break;
    ids[at] = merged[at];
    std::copy(ids + at + 2, ids + count, ids + at + 1);
    std::copy(merged.begin() + at + 1, merged.begin() + count - 1, merged.begin() + at);
    --count;
    if (at + 1 < count) merged[at] = MergedId(ids[at], ids[at + 1]);
    if (at > 0) merged[at - 1] = MergedId(ids[at - 1], ids[at]);
  }
  return count;
}

size_t Tokenizer::MergeLong(uint16_t* ids, size_t count) const {
  // A doubly linked list over the positions, and a heap of candidate merges (id, position of the left part), the lowest
  // rank and leftmost on top; a candidate counts only while its two parts still make that id.
  using Candidate = std::pair<uint16_t, uint32_t>;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap;
  std::vector<uint32_t> next(count + 1), previous(count + 1);
  std::vector<bool> alive(count, true);
  const auto offer = [&](size_t left) {
    if (next[left] >= count) return;
    const uint16_t id = MergedId(ids[left], ids[next[left]]);
    if (id != kNoMerge) heap.emplace(id, static_cast<uint32_t>(left));
  };
  for (size_t i = 0; i <= count; ++i) {
    next[i] = static_cast<uint32_t>(i + 1);
    previous[i] = static_cast<uint32_t>(i - 1);
  }
  for (size_t i = 0; i < count; ++i) offer(i);
  while (!heap.empty()) {
    const auto [id, left] = heap.top();
    heap.pop();
    if (!alive[left] || next[left] >= count) continue;
    const uint32_t right = next[left];
    if (MergedId(ids[left], ids[right]) != id) continue;
    ids[left] = id;
    alive[right] = false;
    next[left] = next[right];
    previous[next[left]] = left;
    offer(left);
    if (left > 0) offer(previous[left]);
  }
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    if (alive[i]) ids[kept++] = ids[i];
  }
  return kept;
}

void Tokenizer::EncodePreToken(std::string_view pre_token, std::vector<uint16_t>& ids) const {
  CHECK(pre_token.size() < UINT32_MAX, "a pre-token of {} bytes", pre_token.size());
  const size_t begin = ids.size();
  for (const char c : pre_token) ids.push_back(IdsOfBytes()[static_cast<uint8_t>(c)]);
  uint16_t* const first = ids.data() + begin;
  const size_t count =
      pre_token.size() <= kShort ? MergeShort(first, pre_token.size()) : MergeLong(first, pre_token.size());
  ids.resize(begin + count);
}

std::vector<uint16_t> Tokenizer::Encode(std::string_view text) const {
  std::vector<uint16_t> ids;
  PreTokenizer().ForEach(text, [&](std::string_view pre_token) { EncodePreToken(pre_token, ids); });
  return ids;
}

std::string Tokenizer::Decode(std::span<const uint16_t> ids) const {
  std::string text;
  for (const uint16_t id : ids) {
    CHECK(id < vocab_size(), "id {} with a vocabulary of {}", id, vocab_size());
    text += bytes_[id];
  }
  return text;
}

std::string Tokenizer::TokenBytes(int id) const {
  CHECK(id >= 0 && id < vocab_size(), "id {} with a vocabulary of {}", id, vocab_size());
  return bytes_[id];
}

}  // namespace filigree::data
