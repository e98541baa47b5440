#include <nlohmann/json.hpp>

#include "worker/telemetry/read_log.h"

// Records as lines of JSON. Keys stand in the order of the structs.

namespace filigree::telemetry {
namespace {

using Json = nlohmann::ordered_json;

Json Values(const std::vector<NamedValue>& values) {
  Json object = Json::object();
  for (const NamedValue& v : values) object[v.name] = v.value;
  return object;
}

struct ToJson {
  Json operator()(const RunRecord& r) const {
    Json facts = Json::object();
    for (const NamedText& fact : r.facts) facts[fact.name] = fact.text;
    return {{"kind", "run"},
            {"step", r.step},
            {"steps", r.steps},
            {"tokens_per_step", r.tokens_per_step},
            {"started", r.started},
            {"name", r.name},
            {"baselines", Values(r.baselines)},
            {"facts", facts}};
  }
  Json operator()(const StepRecord& r) const {
    Json phases = Json::object();
    for (int i = 0; i < kPhases; ++i) phases[kPhaseNames[i]] = r.phase_seconds[i];
    Json json = {{"kind", "step"},
                 {"step", r.step},
                 {"loss", r.loss},
                 {"z_score", r.z_score},
                 {"lr", r.lr},
                 {"density", r.density},
                 {"embedding_density", r.embedding_density},
                 {"gradient_norm", r.gradient_norm},
                 {"gradient_rms", r.gradient_rms},
                 {"ms", r.ms},
                 {"tokens_per_second", r.tokens_per_second},
                 {"percent_of_peak", r.percent_of_peak},
                 {"bits_per_byte", r.bits_per_byte},
                 {"epochs", r.epochs},
                 {"phase_seconds", phases}};
    if (r.wire.sent > 0) {
      json["wire_bytes"] = {
          {"sent", r.wire.sent}, {"received", r.wire.received}, {"dense_equivalent", r.wire.dense_equivalent}};
    }
    if (!r.nnz.empty()) {
      Json nnz = Json::object();
      for (const NamedCount& c : r.nnz) nnz[c.name] = c.count;
      json["nnz"] = nnz;
    }
    return json;
  }
  Json operator()(const EvalRecord& r) const {
    return {{"kind", "eval"},
            {"step", r.step},
            {"loss", r.loss},
            {"bits_per_byte", r.bits_per_byte},
            {"tokens", r.tokens},
            {"seconds", r.seconds},
            {"baselines", Values(r.baselines)}};
  }
  Json operator()(const SampleRecord& r) const {
    return {{"kind", "sample"}, {"step", r.step}, {"prompt", r.prompt}, {"text", r.text}};
  }
  Json operator()(const CheckpointRecord& r) const {
    return {{"kind", "checkpoint"}, {"step", r.step}, {"seconds", r.seconds}, {"bytes", r.bytes}, {"path", r.path}};
  }
  Json operator()(const SnapshotRecord& r) const {
    Json matrices = Json::array();
    for (const MatrixSnapshot& m : r.matrices)
      matrices.push_back({{"name", m.name},
                          {"layer", m.layer},
                          {"kind", m.kind},
                          {"numel", m.numel},
                          {"nnz", m.nnz},
                          {"units", m.units},
                          {"alive_units", m.alive_units},
                          {"threshold", m.threshold},
                          {"magnitudes", m.magnitudes}});
    return {{"kind", "snapshot"}, {"step", r.step}, {"matrices", matrices}};
  }
  Json operator()(const NoteRecord& r) const { return {{"kind", "note"}, {"step", r.step}, {"text", r.text}}; }
  Json operator()(const EndRecord& r) const {
    return {{"kind", "end"}, {"step", r.step}, {"seconds", r.seconds}, {"reason", r.reason}};
  }
};

}  // namespace

std::string FormatRecord(const Record& record) {
  const Json json = std::visit(ToJson(), record);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace filigree::telemetry
