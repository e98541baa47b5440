#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>

#include "kernels/base/check.h"
#include "kernels/base/thread_pool.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/selection.h"
#include "worker/checkpoint/stored_tensors.h"

namespace filigree::checkpoint {
namespace {

using Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1, "OpenSSL has no SHA-256");
  }
  void Add(const void* data, size_t n) { CHECK(EVP_DigestUpdate(context_.get(), data, n) == 1); }
  void AddNumber(uint64_t x) { Add(&x, sizeof(x)); }
  Digest Finish() {
    Digest digest;
    CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
    return digest;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

// Packs (index, bits) or index records and hands them over in blocks.
class EntryHasher {
 public:
  void AddValue(int64_t index, float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    if (bits == 0) return;
    nonzeros_ += value != 0;
    AddIndex(index);
    std::memcpy(block_.data() + used_, &bits, sizeof(bits));
    used_ += sizeof(bits);
  }
  void AddValues(int64_t first, const float* values, int64_t n) {
    for (int64_t i = 0; i < n; ++i) AddValue(first + i, values[i]);
  }
  void AddIndex(int64_t index) {
    if (used_ + 12 > block_.size()) Flush();
    std::memcpy(block_.data() + used_, &index, sizeof(index));
    used_ += sizeof(index);
  }
  void AddText(const char* text) { sha_.Add(text, std::strlen(text)); }
  Digest Finish() {
    Flush();
    return sha_.Finish();
  }
  int64_t nonzeros() const { return nonzeros_; }

 private:
  void Flush() {
    sha_.Add(block_.data(), used_);
    used_ = 0;
  }
  Sha256 sha_;
  std::array<uint8_t, 12288> block_;
  size_t used_ = 0;
  int64_t nonzeros_ = 0;
};

std::string Hex(const Digest& digest) {
  std::string hex;
  for (const uint8_t byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

constexpr char kAllKept[] = "all";

// What the digest asks of a state, wherever it lies. Components: 0 weight, 1 m, 2 v, 3 selection, and of tensors that
// have candidates 4 candidates.
constexpr int kComponents = 5;
struct SourceTensor {
  std::string name;
  Shape shape;
  bool has_candidates = false;

  int components() const { return has_candidates ? kComponents : kComponents - 1; }
};
struct Source {
  std::vector<SourceTensor> tensors;
  std::function<absl::Status(size_t tensor, int component, EntryHasher& hasher)> feed;
  int64_t step, position;
  uint64_t seed;
};

// Name, shape and the digests of the components.
void AddTensor(const SourceTensor& tensor, const Digest* components, Sha256& all) {
  all.AddNumber(tensor.name.size());
  all.Add(tensor.name.data(), tensor.name.size());
  all.AddNumber(tensor.shape.size());
  for (const int64_t dim : tensor.shape) all.AddNumber(dim);
  for (int c = 0; c < tensor.components(); ++c) all.Add(components[c].data(), sizeof(Digest));
}

absl::StatusOr<StateSummary> Combine(const Source& source, int threads) {
  const size_t count = source.tensors.size();
  std::vector<Digest> digests(count * kComponents);
  std::vector<int64_t> nonzeros(count * kComponents);
  std::vector<absl::Status> statuses(count * kComponents);
  kernels::ThreadPool pool(threads);
  pool.Run(static_cast<int64_t>(digests.size()), [&](int64_t task, int) {
    const int64_t t = task / kComponents;
    const auto component = static_cast<int>(task % kComponents);
    if (component >= source.tensors[t].components()) return;
    EntryHasher hasher;
    statuses[task] = source.feed(t, component, hasher);
    digests[task] = hasher.Finish();
    nonzeros[task] = hasher.nonzeros();
  });
  for (const absl::Status& status : statuses) {
    if (!status.ok()) return status;
  }
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return source.tensors[a].name < source.tensors[b].name; });
  StateSummary summary;
  Sha256 all;
  const std::string magic = "filigree-state-1\n";
  all.Add(magic.data(), magic.size());
  for (const size_t t : order) {
    const Digest* components = &digests[t * kComponents];
    AddTensor(source.tensors[t], components, all);
    Sha256 alone;
    AddTensor(source.tensors[t], components, alone);
    summary.tensors.push_back({source.tensors[t].name, nonzeros[t * kComponents], Hex(alone.Finish())});
  }
  all.AddNumber(source.step);
  all.AddNumber(source.position);
  all.AddNumber(source.seed);
  summary.state_sha256 = Hex(all.Finish());
  return summary;
}

void FeedBitmap(const uint64_t* kept, int64_t elements, EntryHasher& hasher) {
  if (kept == nullptr || CountKept(kept, elements) == elements) return hasher.AddText(kAllKept);
  ForEachKept(kept, elements, [&](int64_t i) { hasher.AddIndex(i); });
}

// values: one a candidate, or null: all zero.
void FeedOnCandidates(const kernels::PatternView& candidates, const float* values, EntryHasher& hasher) {
  EntryIndices index(candidates);
  for (int64_t e = 0; values != nullptr && e < candidates.nnz(); ++e) hasher.AddValue(index(e), values[e]);
}

// The candidates in `kept`, a bitmap over them, or, null, all of them: of `elements` positions.
void FeedSelected(const kernels::PatternView& candidates, const uint64_t* kept, int64_t elements, EntryHasher& hasher) {
  const int64_t nnz = candidates.nnz();
  if ((kept == nullptr ? nnz : CountKept(kept, nnz)) == elements) return hasher.AddText(kAllKept);
  EntryIndices index(candidates);
  if (kept != nullptr) return ForEachKept(kept, nnz, [&](int64_t e) { hasher.AddIndex(index(e)); });
  for (int64_t e = 0; e < nnz; ++e) hasher.AddIndex(index(e));
}

absl::Status FeedStoredCandidates(const StoredTensors& stored, const ManifestTensor& tensor, int component,
                                  EntryHasher& hasher) {
  auto candidates = stored.ReadPattern(tensor);
  if (!candidates.ok()) return candidates.status();
  const kernels::PatternView view = candidates->view();
  if (component == 4) {
    FeedSelected(view, nullptr, Elements(tensor.shape), hasher);
    return absl::OkStatus();
  }
  if (component == 0 || component == 3) {
    auto weights = stored.ReadWeights(tensor, view);
    if (!weights.ok()) return weights.status();
    if (component == 0) FeedOnCandidates(view, weights->weight.data(), hasher);
    if (component == 3) FeedSelected(view, weights->kept.data(), Elements(tensor.shape), hasher);
    return absl::OkStatus();
  }
  if (!tensor.moments) return absl::OkStatus();
  EntryIndices index(view);
  return stored.ReadDense(stored.moments, tensor.name + (component == 1 ? ".m" : ".v"),
                          [&](int64_t first, const float* values, int64_t n) {
                            for (int64_t i = 0; i < n; ++i) hasher.AddValue(index(first + i), values[i]);
                          });
}

absl::Status FeedStored(const StoredTensors& stored, const ManifestTensor& tensor, int component, EntryHasher& hasher) {
  if (tensor.candidates > 0) return FeedStoredCandidates(stored, tensor, component, hasher);
  const auto add = [&](int64_t first, const float* values, int64_t n) { hasher.AddValues(first, values, n); };
  if (component == 1 || component == 2) {
    if (!tensor.moments) return absl::OkStatus();
    return stored.ReadDense(stored.moments, tensor.name + (component == 1 ? ".m" : ".v"), add);
  }
  const bool all_kept = tensor.kept == Elements(tensor.shape);
  if (component == 3 && all_kept) {
    hasher.AddText(kAllKept);
    return absl::OkStatus();
  }
  if (tensor.weight == WeightStorage::kSparse) {
    auto entries = stored.ReadSparse(tensor);
    if (!entries.ok()) return entries.status();
    for (size_t e = 0; e < entries->indices.size(); ++e) {
      if (component == 0) {
        hasher.AddValue(entries->indices[e], entries->values[e]);
      } else {
        hasher.AddIndex(entries->indices[e]);
      }
    }
    return absl::OkStatus();
  }
  if (component == 0) return stored.ReadDense(stored.weights, tensor.name, add);
  auto kept = stored.ReadBitmap(tensor);
  if (!kept.ok()) return kept.status();
  FeedBitmap(kept->data(), Elements(tensor.shape), hasher);
  return absl::OkStatus();
}

void FeedState(const StateTensor& tensor, int component, EntryHasher& hasher) {
  const int64_t elements = Elements(tensor.shape);
  const float* values = component == 0 ? tensor.weight : component == 1 ? tensor.m : tensor.v;
  if (tensor.candidates != nullptr) {
    if (component < 3) return FeedOnCandidates(*tensor.candidates, values, hasher);
    return FeedSelected(*tensor.candidates, component == 3 ? tensor.kept : nullptr, elements, hasher);
  }
  if (component == 3) return FeedBitmap(tensor.kept, elements, hasher);
  if (values != nullptr) hasher.AddValues(0, values, elements);
}

}  // namespace

std::string StateSha256(const State& state, int threads) {
  Source source{{}, nullptr, state.step, state.position, state.seed};
  for (const StateTensor& tensor : state.tensors) {
    source.tensors.push_back({tensor.name, tensor.shape, tensor.candidates != nullptr});
  }
  source.feed = [&](size_t t, int component, EntryHasher& hasher) {
    FeedState(state.tensors[t], component, hasher);
    return absl::OkStatus();
  };
  return Combine(source, threads)->state_sha256;
}

absl::StatusOr<StateSummary> Summarise(const Checkpoint& checkpoint, int threads) {
  Source source{{}, nullptr, checkpoint.step(), checkpoint.position(), checkpoint.seed()};
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    source.tensors.push_back({tensor.name, tensor.shape, tensor.candidates > 0});
  }
  source.feed = [&](size_t t, int component, EntryHasher& hasher) {
    return FeedStored(checkpoint.stored(), checkpoint.stored().tensors[t], component, hasher);
  };
  return Combine(source, threads);
}

absl::StatusOr<std::string> StateSha256(const Checkpoint& checkpoint, int threads) {
  auto summary = Summarise(checkpoint, threads);
  if (!summary.ok()) return summary.status();
  return summary->state_sha256;
}

}  // namespace filigree::checkpoint
