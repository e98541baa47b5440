#ifndef FILIGREE_WORKER_MODEL_SPEC_H_
#define FILIGREE_WORKER_MODEL_SPEC_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "worker/config/settings.h"

// What one model is: its dimensions and the choices that change what it computes. Everything else about a run (density,
// optimiser, data) is no part of it.
//
// Dims: B sequences, T positions (n_ctx), D d_model, F d_mlp, H heads, K d_head, P position channels, V vocab, L
// layers.

namespace filigree::model {

// The places where a tap may look and change what it sees, in the order of the forward pass. The eight that have a name
// in kTopKPlaceNames are those where AbsTopK may act.
enum class Place {
  kResidIn,     // residual before the layer
  kAttnIn,      // attn_in: after RMSNorm, positions appended
  kQ,           // attn_q
  kK,           // attn_k
  kV,           // attn_v
  kAttnY,       // heads side by side, before c_proj
  kAttnOut,     // attn_out: what attention adds to the residual
  kResidMid,    // residual between attention and MLP
  kMlpIn,       // mlp_in
  kMlpNeuron,   // mlp_neuron: after the activation
  kMlpOut,      // mlp_out: what the MLP adds to the residual
  kFinalResid,  // residual after the last layer, before ln_f
};
inline constexpr int kPlaces = 12;

// Names in files: "0.attn.act_in" is place attn.act_in of layer 0; final_resid has no layer.
inline constexpr std::array<const char*, kPlaces> kPlaceNames = {
    "resid_in",         "attn.act_in", "attn.q",     "attn.k",       "attn.v",          "attn.y",
    "attn.resid_delta", "resid_mid",   "mlp.act_in", "mlp.post_act", "mlp.resid_delta", "final_resid"};

// Names of the AbsTopK places in configurations; null where AbsTopK never acts.
inline constexpr std::array<const char*, kPlaces> kTopKPlaceNames = {nullptr,  "attn_in",    "attn_q",   "attn_k",
                                                                     "attn_v", nullptr,      "attn_out", nullptr,
                                                                     "mlp_in", "mlp_neuron", "mlp_out",  nullptr};

// A rank of the `size` ranks that share one model (tensor parallel).
struct Shard {
  int rank = 0, size = 1;
};

struct ModelSpec {
  int d_model = 0;    // D
  int n_layer = 0;    // L
  int n_head = 0;     // H
  int d_head = 0;     // K
  int d_mlp = 0;      // F
  int n_ctx = 0;      // T
  int vocab = 0;      // V
  int d_pos_emb = 0;  // P; 0: no positions
  config::Activation activation = config::Activation::kGelu;
  double afrac = 1;                  // AbsTopK keeps floor(afrac * channels); 1: off everywhere
  std::array<bool, kPlaces> topk{};  // places where AbsTopK acts
  bool sink = false;
  bool bigram = false;
  // G: heads, neurons and vocabulary are cut into so many runs, and sums over them are formed run by run and added
  // along the tree of kernels/base/sum_tree.h. Part of the arithmetic, on one rank too: any number of ranks that
  // divides G computes the same bits.
  int tensor_groups = 1;
  // As bf16, the inputs of linear layers and q, k, v are rounded wherever the model is computed, also where nothing is
  // kept: training and evaluation are of the same function. (pre_act is rounded for its derivative alone, and the
  // residual and the head not at all.)
  config::ActivationStorage activation_storage = config::ActivationStorage::kFp32;

  bool rounds() const { return activation_storage == config::ActivationStorage::kBf16; }
  int attention_width() const { return n_head * d_head; }  // HK
  int input_width() const { return d_model + d_pos_emb; }  // channels of attn_in and mlp_in
  int channels(Place place) const;
  // Entries AbsTopK keeps at `place`; channels(place) where it is off.
  int kept(Place place) const;
  bool has_topk(Place place) const { return kept(place) < channels(place); }

  // Group g of n heads, neurons or tokens begins here and ends where the next one begins.
  int GroupBegin(int n, int group) const { return static_cast<int>(int64_t{n} * group / tensor_groups); }
  // The groups of a rank: [FirstGroup(shard), FirstGroup of the next).
  int FirstGroup(const Shard& shard) const { return tensor_groups / shard.size * shard.rank; }
  // The dimensions that a rank holds: fewer heads, neurons and tokens. What AbsTopK keeps is decided by the whole spec.
  ModelSpec Local(const Shard& shard) const;
};

// The spec of a configured model. Settings are valid (config::Validate); InvalidArgument where the vocabulary does not
// fit.
absl::StatusOr<ModelSpec> MakeSpec(const config::ModelSettings& settings, int vocab);

// The AbsTopK place of a configured name (attn_in ...), or kPlaces for none.
int PlaceOfTopKName(const std::string& name);

}  // namespace filigree::model

#endif  // FILIGREE_WORKER_MODEL_SPEC_H_
