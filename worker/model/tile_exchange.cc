#include "worker/model/tile_exchange.h"

#include <algorithm>
#include <numeric>

#include "kernels/abs_topk/abs_topk.h"
#include "kernels/activation/activation.h"
#include "kernels/base/check.h"
#include "kernels/base/sum_tree.h"
#include "worker/model/packed_tile.h"

namespace filigree::model {

using kernels::kTileTokens;
using kernels::SumTree;
using kernels::Tile;

namespace {

template <typename T>
T* Grow(kernels::Buffer<T>& buffer, size_t size) {
  if (buffer.size() < size) buffer = kernels::Buffer<T>(size);
  return buffer.data();
}

float* Floats(std::byte* bytes) { return reinterpret_cast<float*>(bytes); }
uint64_t* Words(std::byte* bytes) { return reinterpret_cast<uint64_t*>(bytes); }

}  // namespace

TileExchange::TileExchange(const ModelSpec& whole, TensorGroup& group, kernels::ThreadPool& pool)
    : group_(group), pool_(pool), scratch_(pool.threads()), words_(pool.threads()) {
  for (int r = 0; r < group.size(); ++r) {
    subtrees_.push_back(
        kernels::SubtreesOf(whole.FirstGroup({r, group.size()}), whole.FirstGroup({r + 1, group.size()})));
  }
}

int TileExchange::Place(int n) const {
  const int own = end() - begin();
  if (n < begin()) return n;
  return n >= end() ? n - own : tiles_ - own + (n - begin());
}

size_t TileExchange::RunOf(int rank, int i, const std::vector<size_t>& bytes) const {
  size_t offset = 0;
  for (int r = 0; r < rank; ++r) offset += r == group_.rank() ? 0 : bytes[r];
  return offset * tiles_of(group_.rank()) + bytes[rank] * i;
}

absl::Status TileExchange::ToOwners(const char* what, size_t to_owner, const std::vector<size_t>& from_rank) {
  std::vector<int64_t> sent(group_.size(), 0), received(group_.size(), 0);
  for (int r = 0; r < group_.size(); ++r) {
    if (r == group_.rank()) continue;
    sent[r] = static_cast<int64_t>(to_owner * tiles_of(r));
    received[r] = static_cast<int64_t>(from_rank[r] * tiles_of(group_.rank()));
  }
  const auto sum = [](const std::vector<int64_t>& bytes) {
    return static_cast<size_t>(std::accumulate(bytes.begin(), bytes.end(), int64_t{0}));
  };
  Grow(receive_, sum(received));
  return group_.AllToAll(what, {send_.data(), sum(sent)}, sent, {receive_.data(), sum(received)}, received);
}

absl::Status TileExchange::FromOwners(const char* what, size_t from_owner, const std::vector<size_t>& to_rank) {
  std::vector<int64_t> sent(group_.size(), 0), received(group_.size(), 0);
  for (int r = 0; r < group_.size(); ++r) {
    if (r == group_.rank()) continue;
    sent[r] = static_cast<int64_t>(to_rank[r] * tiles_of(group_.rank()));
    received[r] = static_cast<int64_t>(from_owner * tiles_of(r));
  }
  const auto sum = [](const std::vector<int64_t>& bytes) {
    return static_cast<size_t>(std::accumulate(bytes.begin(), bytes.end(), int64_t{0}));
  };
  return group_.AllToAll(what, {reply_.data(), sum(sent)}, sent, {answer_.data(), sum(received)}, received);
}

absl::Status TileExchange::GatherBytes(const char* what, void* data, size_t bytes) {
  std::vector<int64_t> runs;
  runs.reserve(group_.size());
  for (int r = 0; r < group_.size(); ++r) runs.push_back(static_cast<int64_t>(bytes * tiles_of(r)));
  return group_.AllGather(what, {static_cast<std::byte*>(data), bytes * tiles_}, runs);
}

absl::Status TileExchange::GatherRuns(const char* what, void* data, std::span<const int64_t> bytes) {
  const auto size = static_cast<size_t>(std::accumulate(bytes.begin(), bytes.end(), int64_t{0}));
  return group_.AllGather(what, {static_cast<std::byte*>(data), size}, bytes);
}

absl::Status TileExchange::Gather(const char* what, TileBuffer& tiles, KeptBuffer* kept, int k) {
  if (kept == nullptr || kept->tile(0) == nullptr) {
    return GatherBytes(what, tiles.tile(0).data, tiles.stride() * sizeof(float));
  }
  const size_t channels = tiles.channels();
  const size_t bytes = channels * sizeof(uint64_t) + sizeof(float) * k * kTileTokens;
  std::byte* all = Grow(receive_, bytes * tiles_);
  const auto values = [&](int n) { return Floats(all + bytes * n + channels * sizeof(uint64_t)); };
  pool_.Run(end() - begin(), [&](int64_t i, int) {
    const int n = begin() + static_cast<int>(i);
    std::copy_n(kept->tile(n), channels, Words(all + bytes * n));
    PackTile(tiles.tile(n), kept->tile(n), values(n));
  });
  absl::Status gathered = GatherBytes(what, all, bytes);
  if (!gathered.ok()) return gathered;
  pool_.Run(tiles_, [&](int64_t i, int) {
    const int n = static_cast<int>(i);
    if (begin() <= n && n < end()) return;
    std::copy_n(Words(all + bytes * n), channels, kept->tile(n));
    UnpackTile(values(n), kept->tile(n), tiles.tile(n));
  });
  return gathered;
}

void TileExchange::BeginSum(int channels, const KeptBuffer* kept, int k) {
  channels_ = channels;
  kept_ = kept == nullptr || kept->tile(0) == nullptr ? nullptr : kept;
  piece_floats_ = static_cast<size_t>(kept_ == nullptr ? channels : k) * kTileTokens;
  Grow(send_, sizeof(float) * piece_floats_ * pieces() * tiles_);
}

void TileExchange::Add(int n, int piece, int worker, const std::function<void(Tile)>& form) {
  float* to = Floats(send_.data()) + piece_floats_ * (static_cast<size_t>(Place(n)) * pieces() + piece);
  if (kept_ == nullptr) return form({to, channels_});
  const Tile whole{Grow(scratch_[worker], static_cast<size_t>(channels_) * kTileTokens), channels_};
  form(whole);
  PackTile(whole, kept_->tile(n), to);
}

absl::Status TileExchange::FinishSum(const char* what, const std::function<void(int, Tile, int)>& use) {
  std::vector<size_t> from_rank;
  for (const std::vector<int>& subtrees : subtrees_)
    from_rank.push_back(sizeof(float) * piece_floats_ * subtrees.size());
  absl::Status sent = ToOwners(what, from_rank[group_.rank()], from_rank);
  if (!sent.ok()) return sent;
  pool_.Run(end() - begin(), [&](int64_t i, int worker) {
    const int n = begin() + static_cast<int>(i);
    const int piece_channels = static_cast<int>(piece_floats_ / kTileTokens);
    std::vector<float*> node(32);
    const auto add = [&](int below, int top) {
      kernels::Accumulate({node[top], piece_channels}, {node[below], piece_channels});
    };
    SumTree tree;
    for (int r = 0; r < group_.size(); ++r) {
      std::byte* run = r == group_.rank() ? send_.data() + from_rank[r] * Place(n)
                                          : receive_.data() + RunOf(r, static_cast<int>(i), from_rank);
      for (const int groups : subtrees_[r]) {
        node[tree.depth()] = Floats(run);
        tree.Push(groups, add);
        run += sizeof(float) * piece_floats_;
      }
    }
    tree.Finish(add);
    if (kept_ == nullptr) return use(n, {node[0], channels_}, worker);
    const Tile whole{Grow(scratch_[worker], static_cast<size_t>(channels_) * kTileTokens), channels_};
    UnpackTile(node[0], kept_->tile(n), whole);
    use(n, whole, worker);
  });
  return sent;
}

// What the owners of a selection need.
struct TileExchange::Selecting {
  const std::vector<Selection>& places;
  const std::function<float*(int worker, int place)>& guess;
  std::vector<size_t> channels;                 // of every rank, over all places
  std::vector<size_t> value_bytes, word_bytes;  // of them, a tile
};

absl::Status TileExchange::Select(const char* what, const std::vector<Selection>& places, TileBuffer& tiles,
                                  KeptBuffer& kept, const std::function<float*(int worker, int place)>& guess) {
  const int rank = group_.rank();
  Selecting run{places, guess, {}, {}, {}};
  for (int r = 0; r < group_.size(); ++r) {
    size_t channels = 0;
    for (const Selection& place : places) channels += place.channels[r];
    run.channels.push_back(channels);
    run.value_bytes.push_back(sizeof(float) * kTileTokens * channels);
    run.word_bytes.push_back(sizeof(uint64_t) * channels);
  }
  Grow(send_, run.value_bytes[rank] * tiles_);
  pool_.Run(tiles_, [&](int64_t n, int) {
    float* to = Floats(send_.data() + run.value_bytes[rank] * Place(static_cast<int>(n)));
    for (const Selection& place : places) {
      const Tile here = tiles.tile(static_cast<int>(n)).rows(place.first, place.channels[rank]);
      to = std::copy_n(here.data, here.size(), to);
    }
  });
  absl::Status status = ToOwners(what, run.value_bytes[rank], run.value_bytes);
  if (!status.ok()) return status;
  size_t replied = 0;
  for (int r = 0; r < group_.size(); ++r) replied += r == rank ? 0 : run.word_bytes[r] * tiles_of(rank);
  Grow(reply_, replied);
  Grow(answer_, run.word_bytes[rank] * tiles_);
  pool_.Run(end() - begin(), [&](int64_t i, int worker) { SelectTile(run, static_cast<int>(i), worker); });
  status = FromOwners(what, run.word_bytes[rank], run.word_bytes);
  if (!status.ok()) return status;
  pool_.Run(tiles_, [&](int64_t i, int) {
    const int n = static_cast<int>(i);
    const uint64_t* words = Words(answer_.data() + run.word_bytes[rank] * Place(n));
    for (const Selection& place : places) {
      std::copy_n(words, place.channels[rank], kept.tile(n) + place.first);
      words += place.channels[rank];
      const Tile x = tiles.tile(n).rows(place.first, place.channels[rank]);
      if (x.channels > 0) kernels::AbsTopKBackward(x, kept.tile(n) + place.first, x);
    }
  });
  return status;
}

// Own tile i: the channels of all ranks are put side by side, and the kept bits of each go back to it.
void TileExchange::SelectTile(const Selecting& run, int i, int worker) {
  const int n = begin() + i;
  std::vector<size_t> done(group_.size(), 0);  // channels of every rank
  for (size_t p = 0; p < run.places.size(); ++p) {
    const Selection& place = run.places[p];
    const int all = std::accumulate(place.channels.begin(), place.channels.end(), 0);
    const Tile x{Grow(scratch_[worker], static_cast<size_t>(all) * kTileTokens), all};
    uint64_t* words = Grow(words_[worker], all);
    float* to = x.data;
    for (int r = 0; r < group_.size(); ++r) {
      const std::byte* from = r == group_.rank() ? send_.data() + run.value_bytes[r] * Place(n)
                                                 : receive_.data() + RunOf(r, i, run.value_bytes);
      const size_t values = static_cast<size_t>(place.channels[r]) * kTileTokens;
      to = std::copy_n(reinterpret_cast<const float*>(from) + done[r] * kTileTokens, values, to);
    }
    kernels::AbsTopK(x, place.k, x, words, run.guess(worker, static_cast<int>(p)));
    for (int r = 0; r < group_.size(); ++r) {
      std::byte* answer = r == group_.rank() ? answer_.data() + run.word_bytes[r] * Place(n)
                                             : reply_.data() + RunOf(r, i, run.word_bytes);
      std::copy_n(words, place.channels[r], Words(answer) + done[r]);
      words += place.channels[r];
      done[r] += place.channels[r];
    }
  }
}

size_t TileExchange::bytes() const {
  size_t total = send_.size() + receive_.size() + reply_.size() + answer_.size();
  for (const auto& buffer : scratch_) total += buffer.size() * sizeof(float);
  for (const auto& buffer : words_) total += buffer.size() * sizeof(uint64_t);
  return total;
}

}  // namespace filigree::model
