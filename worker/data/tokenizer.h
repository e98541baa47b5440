#ifndef FILIGREE_WORKER_DATA_TOKENIZER_H_
#define FILIGREE_WORKER_DATA_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

// Byte-level BPE: text <-> ids. docs/formats/tokenizer.md specifies it and its files.
//
// Ids 0..255 are the single bytes in GPT-2's order, 256 + r is the merge of rank r, and the last id, vocab - 1, is
// <|endoftext|>. Text is cut into pre-tokens (pre_tokenizer.h); inside each, the pair of lowest rank is merged, the
// leftmost first, until no pair is a merge.
//
// Any bytes can be encoded and decode(encode(bytes)) == bytes; bytes that are not UTF-8 count as punctuation. The
// characters "<|endoftext|>" in a text are ordinary text: Encode never returns end_of_text().
//
// Immutable after it was made: any number of threads may use one. For megabytes of text use an Encoder (encoder.h).

namespace filigree::data {

inline constexpr int kMinVocab = 257;
inline constexpr int kMaxVocab = 65535;
// Longer tokens are never made: merges of merges double in length, so a few lines of a foreign file could ask for
// petabytes.
inline constexpr size_t kMaxTokenBytes = 1 << 16;
inline constexpr size_t kMaxVocabBytes = 1 << 26;
inline constexpr char kEndOfText[] = "<|endoftext|>";

// Left and right id of a merge; both are below the id it makes.
using Merge = std::pair<uint16_t, uint16_t>;

class Tokenizer {
 public:
  // Reads tokenizer.json of `dir`, or encoder.json and vocab.bpe where it has none. NotFound where there are no such
  // files, DataLoss where they are no tokenizer of this form (which file and what is wrong).
  static absl::StatusOr<Tokenizer> Load(const std::string& dir);

  // From merges in rank order: vocab = 257 + merges. InvalidArgument where a merge uses an id that is not made before
  // it or makes a string that is a token already, and where tokens would be too long.
  static absl::StatusOr<Tokenizer> FromMerges(std::vector<Merge> merges);

  int vocab_size() const { return kMinVocab + static_cast<int>(merges_.size()); }
  int end_of_text() const { return vocab_size() - 1; }
  const std::vector<Merge>& merges() const { return merges_; }

  std::vector<uint16_t> Encode(std::string_view text) const;

  // Appends the ids of one pre-token. O(n^2) for short ones, O(n log n) for long ones.
  void EncodePreToken(std::string_view pre_token, std::vector<uint16_t>& ids) const;

  // The bytes of all ids; end_of_text() becomes "<|endoftext|>". Every id must be below vocab_size().
  std::string Decode(std::span<const uint16_t> ids) const;

  // The bytes of one id in [0, vocab_size()).
  std::string TokenBytes(int id) const;

  // SHA-256, in hex, of tokenizer.json as we write it: two tokenizers are the same if and only if digests are equal.
  const std::string& digest() const { return digest_; }

 private:
  Tokenizer() = default;
  // The id that merging two neighbours makes, or kNoMerge.
  uint16_t MergedId(uint16_t left, uint16_t right) const;
  size_t MergeShort(uint16_t* ids, size_t count) const;
  size_t MergeLong(uint16_t* ids, size_t count) const;

  std::vector<Merge> merges_;
  std::vector<std::string> bytes_;                    // of every id
  absl::flat_hash_map<uint32_t, uint16_t> merge_id_;  // left << 16 | right -> id
  std::string digest_;
};

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_TOKENIZER_H_
