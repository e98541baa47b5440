#include "worker/config/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "worker/config/value.h"

namespace filigree::config {
namespace {

int64_t Neurons(const ModelSettings& model) { return model.d_mlp > 0 ? model.d_mlp : 4 * model.d_model; }

Problem HeadsDivideWidth(const Settings& s) {
  const int64_t d = s.model.d_model, k = s.model.d_head;
  if (d % k == 0) return {};
  std::string widths = d < k ? fmt::format("{}", k) : fmt::format("{} and {}", d / k * k, (d / k + 1) * k);
  int64_t below = std::min(k, d), above = std::min(k, d);
  while (d % below != 0) --below;
  while (above < d && d % above != 0) ++above;
  const std::string heads = below == above ? fmt::format("{}", below) : fmt::format("{} and {}", below, above);
  return {{"model.d_model", "model.d_head"},
          fmt::format("model.d_model {} is not a multiple of model.d_head {}; d_model {} would be, or d_head {}", d, k,
                      widths, heads)};
}

// AbsTopK must keep at least one channel wherever it acts, and can count those that there are.
Problem TopkFitsItsChannels(const Settings& s) {
  const ModelSettings& m = s.model;
  for (const std::string& place : m.topk_places) {
    const bool input = place == "attn_in" || place == "mlp_in";
    const int64_t channels = place == "mlp_neuron" ? Neurons(m) : m.d_model + (input ? m.d_pos_emb : 0);
    constexpr int64_t kMost = 32768;  // kernels/abs_topk counts channels in 16 bits
    if (channels > kMost && m.afrac < 1) {
      return {{"model.d_mlp", "model.d_model", "model.topk_places"},
              fmt::format("AbsTopK at {} has {} channels, at most {} are possible; take model.d_mlp {} or fewer, or "
                          "leave {} out of model.topk_places",
                          place, channels, kMost, kMost, place)};
    }
    if (std::floor(m.afrac * static_cast<double>(channels)) >= 1) continue;
    return {{"model.afrac", "model.d_model", "model.topk_places"},
            fmt::format("model.afrac {} keeps none of the {} channels at {}: floor(afrac * {}) is 0; at least 1/{} is "
                        "needed",
                        FormatReal(m.afrac), channels, place, channels, channels)};
  }
  return {};
}

// Heads go to groups whole and evenly; of neurons and of the vocabulary (257 tokens at least) every group has some.
Problem GroupsDivideHeads(const Settings& s) {
  const int64_t groups = s.model.tensor_groups, heads = s.model.d_model / s.model.d_head;
  const auto fits = [&](int64_t g) { return heads % g == 0 && g <= Neurons(s.model) && g <= 257; };
  if (fits(groups)) return {};
  std::string fitting;
  for (int64_t g = 1; g <= heads; ++g) {
    if (fits(g)) fitting += fmt::format("{}{}", fitting.empty() ? "" : ", ", g);
  }
  return {{"model.tensor_groups", "model.d_model", "model.d_head", "model.d_mlp"},
          fmt::format("model.tensor_groups {} does not cut {} heads (d_model / d_head) and {} neurons into groups; "
                      "would fit: {}",
                      groups, heads, Neurons(s.model), fitting)};
}

Problem AnnealHasLength(const Settings& s) {
  const SparsitySettings& p = s.sparsity;
  if (p.anneal_start < p.anneal_end) return {};
  return {
      {"sparsity.anneal_end", "sparsity.anneal_start"},
      fmt::format("sparsity.anneal_start {} is not below sparsity.anneal_end {}; by default they are 0.01 and 0.5 "
                  "or, in the active regime, 0.6; anneal_shape \"constant\" has the final density from the first step",
                  FormatReal(p.anneal_start), FormatReal(p.anneal_end))};
}

// k = floor(f * numel) of the smallest matrix, at the start and at the end.
Problem MatricesKeepSomething(const Settings& s) {
  const auto square = static_cast<double>(s.model.d_model) * static_cast<double>(s.model.d_model);
  const double neurons = static_cast<double>(Neurons(s.model)) * static_cast<double>(s.model.d_model);
  const double smallest = std::min(square, neurons);
  // The vocabulary is the data's and has at least 257 entries: the single bytes and the end of a text.
  const double embedding = 257.0 * static_cast<double>(s.model.d_model);
  const struct {
    const char* key;
    double density, numel;
  } densities[] = {{"sparsity.density", s.sparsity.density, smallest},
                   {"sparsity.density_start", s.sparsity.density_start, smallest},
                   {"sparsity.embedding_density", s.sparsity.embedding_density, embedding},
                   {"sparsity.embedding_density_start", s.sparsity.embedding_density_start, embedding}};
  for (const auto& [key, density, numel] : densities) {
    if (std::floor(density * numel) >= 1) continue;
    return {{key, "model.d_model"},
            fmt::format("{} {} keeps no weight of a matrix of {:.0f}; at least 1/{:.0f} is needed", key,
                        FormatReal(density), numel, numel)};
  }
  return {};
}

Problem UnitsHoldMinAlive(const Settings& s) {
  if (s.sparsity.min_alive <= s.model.d_model) return {};
  return {
      {"sparsity.min_alive", "model.d_model"},
      fmt::format("sparsity.min_alive {} is more than the {} entries (d_model) of a unit; 4 is the default, at most "
                  "{} is possible",
                  s.sparsity.min_alive, s.model.d_model, s.model.d_model)};
}

Problem ShardsHoldSequences(const Settings& s) {
  if (s.train.shards <= s.train.batch) return {};
  return {
      {"train.shards", "train.batch"},
      fmt::format("train.shards {} is more than train.batch {}: a shard needs a sequence; take shards {} or fewer, or "
                  "batch {} or more",
                  s.train.shards, s.train.batch, s.train.batch, s.train.shards)};
}

Problem TokensOfStepFit(const Settings& s) {
  constexpr int64_t kMost = INT32_MAX;
  if (s.train.batch * s.model.n_ctx <= kMost) return {};
  return {
      {"train.batch", "model.n_ctx"},
      fmt::format("train.batch {} * model.n_ctx {} are {} tokens a step, at most {} are possible; take a batch of {} "
                  "or fewer",
                  s.train.batch, s.model.n_ctx, s.train.batch * s.model.n_ctx, kMost, kMost / s.model.n_ctx)};
}

// With c 1 there is no reserve and, while the mask grows, no newcomer but those that the mask grows by: units that have
// too few could never be filled up.
Problem UnitsCanBeFilledUp(const Settings& s) {
  const SparsitySettings& p = s.sparsity;
  const bool rises = p.density > p.density_start || p.embedding_density > p.embedding_density_start;
  if (p.regime != Regime::kActive || p.anneal_shape == AnnealShape::kConstant || p.candidates > 1 || !rises ||
      p.min_alive == 0) {
    return {};
  }
  return {{"sparsity.candidates", "sparsity.density_start", "sparsity.density"},
          fmt::format("sparsity.candidates 1 leaves no candidates that units could be filled up with to min_alive {} "
                      "while the density rises; take candidates 1.25 or more, or min_alive 0",
                      p.min_alive)};
}

// A matrix that begins whole comes to its candidates in a refresh.
Problem WholeMatricesCanBeNarrowed(const Settings& s) {
  const SparsitySettings& p = s.sparsity;
  const bool constant = p.anneal_shape == AnnealShape::kConstant;
  const auto stays_whole = [&](double start, double end) {
    return p.candidates * (constant ? end : start) >= 1 && p.candidates * end < 1;
  };
  if (p.regime != Regime::kActive || p.refresh_every > 0 || !p.dense_phase) return {};
  if (!stays_whole(p.density_start, p.density) && !stays_whole(p.embedding_density_start, p.embedding_density)) {
    return {};
  }
  return {
      {"sparsity.refresh_every", "sparsity.density_start", "sparsity.candidates"},
      fmt::format("sparsity.refresh_every 0: a matrix that begins whole (candidates {} times its first density is 1 "
                  "or more) would stay so to the end, as only a refresh takes it to its candidates; take "
                  "refresh_every 10, a lower density_start, or dense_phase false",
                  FormatReal(p.candidates))};
}

// Votes are drawn by token, and the tokens of a shard are numbered (worker/mask/wedge.h).
Problem VotesCountTokens(const Settings& s) {
  constexpr int64_t kMost = int64_t{3} << 16, kTile = 64;
  const bool votes = s.sparsity.newcomers == Newcomers::kVotes,
             proposals = s.sparsity.newcomers == Newcomers::kProposals;
  if (s.sparsity.regime != Regime::kActive || (!votes && !proposals)) return {};
  const int64_t sequence = (s.model.n_ctx + kTile - 1) / kTile * kTile;
  const int64_t tokens = (s.train.batch + s.train.shards - 1) / s.train.shards * sequence;
  if (tokens <= kMost) return {};
  return {{"sparsity.newcomers", "train.shards", "train.batch"},
          fmt::format("sparsity.newcomers \"{}\" takes shards of at most {} tokens, and these have {}; take "
                      "train.shards {} or more, or newcomers \"norms\"",
                      votes ? "votes" : "proposals", kMost, tokens,
                      (s.train.batch + kMost / sequence - 1) / (kMost / sequence))};
}

// Ranks that share a model would choose differently among the entries that all of them have.
Problem LargestAreOfAWholeModel(const Settings& s) {
  const Exchange exchange = s.parallel.exchange;
  if (s.parallel.tensor == 1 || (exchange != Exchange::kTopK && exchange != Exchange::kBalanced)) return {};
  return {
      {"parallel.exchange", "parallel.tensor"},
      fmt::format("parallel.exchange \"{}\" is for ranks that have the whole model, and parallel.tensor is {}; take "
                  "parallel.tensor 1, or exchange \"tree\" with wire \"bf16\"",
                  exchange == Exchange::kTopK ? "top-k" : "balanced", s.parallel.tensor)};
}

// It is there to compare with, and what travels are fp32 values.
Problem DenseTravelsAsFloats(const Settings& s) {
  if (s.parallel.exchange != Exchange::kDense || s.parallel.wire == Wire::kFp32) return {};
  return {{"parallel.wire", "parallel.exchange"},
          "parallel.exchange \"dense\" sends fp32 values; take parallel.wire \"fp32\", or exchange \"tree\" with wire "
          "\"bf16\""};
}

// A rank that has a part of a matrix would sample it otherwise than one that has all of it.
Problem ProposalsAreOfAWholeModel(const Settings& s) {
  if (s.sparsity.regime != Regime::kActive || s.sparsity.newcomers != Newcomers::kProposals || s.parallel.tensor == 1) {
    return {};
  }
  return {{"sparsity.newcomers", "parallel.tensor"},
          fmt::format("sparsity.newcomers \"proposals\" is for ranks that have the whole model, and parallel.tensor is "
                      "{}; take parallel.tensor 1, or newcomers \"norms\"",
                      s.parallel.tensor)};
}

}  // namespace

Problem FirstBrokenRule(const Settings& settings) {
  for (const auto rule :
       {HeadsDivideWidth, TopkFitsItsChannels, GroupsDivideHeads, AnnealHasLength, MatricesKeepSomething,
        UnitsHoldMinAlive, ShardsHoldSequences, TokensOfStepFit, UnitsCanBeFilledUp, WholeMatricesCanBeNarrowed,
        VotesCountTokens, LargestAreOfAWholeModel, DenseTravelsAsFloats, ProposalsAreOfAWholeModel}) {
    Problem problem = rule(settings);
    if (!problem.keys.empty()) return problem;
  }
  return {};
}

}  // namespace filigree::config
